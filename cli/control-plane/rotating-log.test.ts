import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RotatingLog } from './rotating-log.ts';

const MIB = 1 << 20;

describe('RotatingLog', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'log-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it('keeps at most 8 MiB and one predecessor, and the end in memory', async () => {
    const path = join(dir, 'etcd.log');
    const source = new PassThrough();
    const log = new RotatingLog(path);
    log.follow(source);
    for (let index = 0; index < 30; index++) source.write(Buffer.alloc(MIB, 97 + (index % 26)));
    source.end('the end');
    await expect.poll(() => log.tail.endsWith('the end')).toBe(true);
    log.close();
    expect((await readFile(path, 'utf8')).endsWith('the end')).toBe(true);
    expect((await stat(path)).size).toBeLessThanOrEqual(8 * MIB);
    expect((await stat(`${path}.1`)).size).toBe(8 * MIB);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(log.tail).toHaveLength(8192);
  });

  it('drops what it cannot write', async () => {
    const log = new RotatingLog(join(dir, 'missing', 'etcd.log'));
    const source = new PassThrough();
    log.follow(source);
    source.end('not written');
    await expect.poll(() => log.tail).toBe('not written');
    log.close();
  });

  it('goes on behind what an earlier run wrote', async () => {
    const path = join(dir, 'etcd.log');
    for (const text of ['first\n', 'second\n']) {
      const source = new PassThrough();
      const log = new RotatingLog(path);
      log.follow(source);
      source.end(text);
      await expect.poll(() => log.tail).toBe(text);
      log.close();
    }
    expect(await readFile(path, 'utf8')).toBe('first\nsecond\n');
  });
});
