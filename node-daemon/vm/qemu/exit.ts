import { VmError } from '../driver.ts';

/** QEMU says why it gives up in its last lines, each after its own name. */
const OWN_NAME = /^(?:\S*\/)?qemu-system-\S+?: /;

/** Why QEMU ended by itself, from the end of its log. */
export function explainQemuExit(log: string): VmError {
  const lines = log
    .split('\n')
    .map((line) => line.trim().replace(OWN_NAME, ''))
    .filter((line) => line !== '');
  const forwarding = lines.find((line) => line.includes('Could not set up host forwarding rule'));
  if (forwarding !== undefined) {
    const address = /tcp:([0-9.]+:[0-9]+)-/.exec(forwarding)?.[1] ?? 'of the VM';
    return new VmError('PortTaken', `the address ${address} is taken by another process on this host`);
  }
  const last = lines.at(-1);
  return new VmError('StartFailed', last === undefined ? 'QEMU ended without saying why' : `QEMU: ${last}`);
}
