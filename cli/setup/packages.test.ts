import { describe, expect, it } from 'vitest';
import { ensurePackages, type PackagePurpose, type PackageSystem, PackagesError } from './packages.ts';

/** A machine on which packages bring their programs. */
class Machine implements PackageSystem {
  readonly programs = new Set<string>();
  readonly installed: string[] = [];
  root = true;
  offers: Record<string, readonly string[]> = {
    apt: ['apt-get'],
    dpkg: ['dpkg-deb'],
    fakeroot: ['fakeroot'],
    e2fsprogs: ['mke2fs'],
    'qemu-utils': ['qemu-img'],
    'qemu-system-x86': ['qemu-system-x86_64'],
    'qemu-system-arm': ['qemu-system-aarch64'],
  };

  hasProgram = async (name: string) => this.programs.has(name);
  canInstall = async () => this.root;
  install = async (packages: readonly string[]) => {
    for (const name of packages) {
      const programs = this.offers[name];
      if (programs === undefined) throw new Error(`Unable to locate package ${name}`);
      this.installed.push(name);
      for (const program of programs) this.programs.add(program);
    }
  };
}

const ALL: readonly PackagePurpose[] = ['run-vms', 'build-template'];
const ensure = (system: Machine, purposes = ALL) =>
  ensurePackages(purposes, { system, progress: () => undefined });

describe('ensurePackages', () => {
  it('installs each missing package once, and nothing the second time', async () => {
    const machine = new Machine();
    machine.programs.add('apt-get').add('dpkg-deb');
    await ensure(machine);
    expect(machine.installed.slice(1)).toEqual(['qemu-utils', 'fakeroot', 'e2fsprogs']);
    expect(machine.installed[0]).toMatch(/^qemu-system-(x86|arm)$/);
    await ensure(machine);
    expect(machine.installed).toHaveLength(4);
  });

  it('names programs and packages where it may not install', async () => {
    const machine = new Machine();
    machine.root = false;
    machine.programs.add('apt-get').add('dpkg-deb');
    const failure = ensure(machine, ['build-template']);
    await expect(failure).rejects.toBeInstanceOf(PackagesError);
    await expect(failure).rejects.toThrow(
      'fakeroot, mke2fs are not in PATH: install the packages fakeroot e2fsprogs (apt-get install, as root)',
    );
    expect(machine.installed).toEqual([]);
  });

  it('passes on what the package manager complains of', async () => {
    const machine = new Machine();
    machine.offers = {};
    await expect(ensure(machine, ['run-vms'])).rejects.toThrow(
      /cannot be installed: Unable to locate package/,
    );
  });

  it('says so when a package does not bring its program', async () => {
    const machine = new Machine();
    machine.programs.add('apt-get').add('dpkg-deb').add('mke2fs');
    machine.offers = { fakeroot: [] };
    await expect(ensure(machine, ['build-template'])).rejects.toThrow('fakeroot cannot be found');
  });
});
