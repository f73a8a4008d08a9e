import { Gauge, type Registry } from 'prom-client';
import type { HostResources } from '../../crds/host.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import type { VolumeRoom } from './machine.ts';

/** What the gauges read when they are collected. */
export interface HostMetricsSource {
  unready(): string | undefined;
  allocatable(): HostResources;
  volume(): VolumeRoom | undefined;
}

/** Adds the gauges of the host itself. No label names an object. */
export function registerHostMetrics(registry: Registry, host: HostMetricsSource): void {
  const registers = [registry];
  new Gauge({
    name: 'shoesvz_host_ready',
    help: '1 while VMs can be started here: registered, Lease held, driver working.',
    registers,
    collect() {
      this.set(host.unready() === undefined ? 1 : 0);
    },
  });
  new Gauge({
    name: 'shoesvz_host_allocatable',
    help: 'What Runners may take of this machine: CPUs, bytes of memory and disk, Runners at once.',
    labelNames: ['resource'],
    registers,
    collect() {
      const { cpu, memory, disk, runners } = host.allocatable();
      this.set({ resource: 'cpu' }, cpu);
      this.set({ resource: 'memory' }, quantityBytes(memory));
      this.set({ resource: 'disk' }, quantityBytes(disk));
      this.set({ resource: 'runners' }, runners);
    },
  });
  new Gauge({
    name: 'shoesvz_host_volume_free_bytes',
    help: "Bytes free on the host root's volume.",
    registers,
    collect() {
      const volume = host.volume();
      if (volume !== undefined) this.set(volume.freeBytes);
    },
  });
}
