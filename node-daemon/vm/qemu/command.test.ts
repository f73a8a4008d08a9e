import { describe, expect, test } from 'vitest';
import { bundlePaths } from '../bundle.ts';
import type { PreparedVm } from '../driver.ts';
import { type QemuFacts, qemuCommand } from './command.ts';
import { explainQemuExit } from './exit.ts';

const UID = '7e2a2f0c-5d53-4f4e-9a52-0a3c3f6d1f10';
const FACTS: QemuFacts = {
  binary: 'qemu-system-x86_64',
  accelerator: 'tcg',
  diskFormat: 'qcow2',
  kernelArgs: 'console=ttyS0 root=/dev/vda',
  initrd: true,
  sandbox: true,
  firmware: 'qboot.rom',
  netdev: 'user,hostfwd=tcp:127.64.0.1:2222-10.0.2.15:22',
};

function prepared(facts: Partial<QemuFacts> = {}, spec: Partial<PreparedVm['spec']> = {}): PreparedVm {
  const endpoint = { host: '127.64.0.1', port: 2222 };
  return {
    spec: {
      identity: { uid: UID, attempt: 2, hostUid: 'h,1' },
      templateDir: '/r/templates/t',
      resources: { cpu: 3, memoryBytes: 1_500_000_000, diskBytes: 1 },
      guestPorts: { ssh: 22, agent: 8080 },
      notifyPort: 8081,
      ...spec,
    },
    endpoints: { ssh: endpoint, agent: endpoint, notifyUrl: '', mac: '02:00:00:00:00:01' },
    driver: { ...FACTS, ...facts },
  };
}

/** Values that follow an option. */
function values(argv: readonly string[], option: string): string[] {
  return argv.flatMap((argument, index) => (argument === option ? [argv[index + 1] ?? ''] : []));
}

describe('the command line', () => {
  const bundle = bundlePaths('/r,x', UID, 2);

  test('names the whole identity, with commas doubled', () => {
    const { argv } = qemuCommand(bundle, prepared());
    expect(values(argv, '-name')).toEqual([`guest=${UID}.2.h,,1`]);
    expect(values(argv, '-uuid')).toEqual([UID]);
  });

  test('every path of the bundle has its commas doubled', () => {
    const { argv } = qemuCommand(bundle, prepared());
    for (const argument of argv.filter((each) => each.includes('/r,'))) {
      expect(argument).toContain('/r,,x/runners/');
    }
  });

  test('a UID that is no UUID is not given as one', () => {
    const identity = { uid: 'u', attempt: 1, hostUid: 'h' };
    expect(values(qemuCommand(bundle, prepared({}, { identity })).argv, '-uuid')).toEqual([]);
  });

  test('gives the resources, memory rounded down to what the class gave', () => {
    const { argv } = qemuCommand(bundle, prepared());
    expect(values(argv, '-smp')).toEqual(['cpus=3']);
    expect(values(argv, '-m')).toEqual(['1430M']);
  });

  test.each([
    ['raw', 'Disk.img'],
    ['qcow2', 'Disk.qcow2'],
  ] as const)('a %s disk is %s, written to, and flushes nothing', (diskFormat, file) => {
    const [disk] = values(qemuCommand(bundle, prepared({ diskFormat })).argv, '-drive');
    expect(disk).toContain(`/${file},format=${diskFormat},cache=unsafe`);
    expect(disk).not.toContain('readonly');
  });

  test('the seed disk is read-only and found by its serial; without one there is none', () => {
    const { argv } = qemuCommand(bundle, prepared());
    expect(values(argv, '-drive')[1]).toMatch(/seed\.img,format=raw,readonly=on$/);
    expect(values(argv, '-device')).toContain('virtio-blk-pci,drive=seed,serial=shoesvz-seed');
    const without = qemuCommand(bundle, prepared({}, { seedDisk: false })).argv;
    expect(without.join(' ')).not.toContain('seed');
  });

  test('kvm uses the host CPU, tcg all that it can emulate', () => {
    expect(values(qemuCommand(bundle, prepared({ accelerator: 'kvm' })).argv, '-cpu')).toEqual(['host']);
    expect(values(qemuCommand(bundle, prepared()).argv, '-cpu')).toEqual(['max']);
  });

  test('what is not there is not asked for', () => {
    const { argv } = qemuCommand(bundle, prepared({ sandbox: false, firmware: '', initrd: false }));
    for (const option of ['-sandbox', '-bios', '-initrd']) expect(argv).not.toContain(option);
  });

  test('a guest that reboots or powers off ends its QEMU', () => {
    expect(qemuCommand(bundle, prepared()).argv).toContain('-no-reboot');
  });

  test('the daemon passes nothing of its environment on', () => {
    expect(qemuCommand(bundle, prepared()).env).toEqual({});
  });

  test('facts of another driver are refused', () => {
    const other = { ...prepared(), driver: { machine: 'vz' } };
    expect(() => qemuCommand(bundle, other)).toThrow('not prepared by the qemu driver');
  });
});

describe('why QEMU ended', () => {
  test.each([
    [
      "qemu-system-x86_64: -netdev user,hostfwd=tcp:127.64.0.1:2222-10.0.2.15:22,id=net: Could not set up host forwarding rule 'tcp:127.64.0.1:2222-10.0.2.15:22'\n",
      'PortTaken',
      'the address 127.64.0.1:2222 is taken by another process on this host',
    ],
    [
      'warning: x\nqemu-system-x86_64: could not load kernel: No such file\n\n',
      'StartFailed',
      'QEMU: could not load kernel: No such file',
    ],
    ['/usr/bin/qemu-system-x86_64: bad\n', 'StartFailed', 'QEMU: bad'],
    ['', 'StartFailed', 'QEMU ended without saying why'],
  ])('%j', (log, reason, message) => {
    expect(explainQemuExit(log)).toMatchObject({ reason, message });
  });
});
