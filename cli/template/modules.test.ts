import { expect, test } from 'vitest';
import { loadOrder, moduleDependencies } from './modules.ts';

const module = (depends: string): Buffer =>
  Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0retpoline=Y\0`, 'latin1');

const KERNEL: Readonly<Record<string, string>> = {
  virtio_net: 'net_failover,virtio_ring',
  net_failover: 'failover',
  failover: '',
  virtio_ring: '',
  loop_a: 'loop_b',
  loop_b: 'loop_a',
};

const read = async (name: string): Promise<Buffer | undefined> => {
  const depends = KERNEL[name];
  return depends === undefined ? undefined : module(depends);
};

test('reads what a module depends on', () => {
  expect(moduleDependencies(module('a,b_c'))).toEqual(['a', 'b_c']);
  expect(moduleDependencies(module(''))).toEqual([]);
  expect(moduleDependencies(Buffer.from('no such field'))).toEqual([]);
});

test('puts each module after what it needs, once', async () => {
  const order = (await loadOrder(['virtio_net', 'failover'], read)).map(({ name }) => name);
  expect(order).toEqual(['failover', 'net_failover', 'virtio_ring', 'virtio_net']);
});

test('takes what has no file for built in, and ends on a loop', async () => {
  expect(await loadOrder(['ext4'], read)).toEqual([]);
  expect((await loadOrder(['loop_a'], read)).map(({ name }) => name)).toEqual(['loop_b', 'loop_a']);
});
