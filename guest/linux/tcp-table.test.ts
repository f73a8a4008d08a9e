import { expect, test } from 'vitest';
import { listens } from './tcp-table.ts';

const HEADER =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (local: string, state: string): string =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 1\n`;

test.each([
  ['00000000:0016', '0A', true],
  ['00000000000000000000000000000000:0016', '0A', true],
  ['0F02000A:0016', '01', false],
  ['00000000:1600', '0A', false],
  ['00000000:1F90', '0A', false],
])('%s in state %s', (local, state, expected) => {
  expect(listens(HEADER + line(local, state), 22)).toBe(expected);
});

test('an empty table has no listener', () => {
  expect(listens(HEADER, 22)).toBe(false);
  expect(listens('', 22)).toBe(false);
});
