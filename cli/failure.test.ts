import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ApiError, ApiUnreachable, KubeconfigError } from '../kube/errors.ts';
import { HostNameError } from '../node-daemon/host/open.ts';
import { RootLockedError } from '../node-daemon/host/root-lock.ts';
import { ControlPlaneError } from './control-plane/error.ts';
import { CliError, explainFailure, StoppedError } from './failure.ts';
import { PackagesError } from './setup/packages.ts';
import { TemplateBuildError } from './template/error.ts';

const REPOSITORY = join(import.meta.dirname, '..');

describe('explainFailure', () => {
  it.each([
    new CliError('--name: is wrong'),
    new ApiError(403, 'Forbidden', 'no'),
    new ApiUnreachable('https://nowhere', 'Refused', 'connection refused'),
    new KubeconfigError('kubeconfig /x does not exist'),
    new HostNameError('--host-name: is wrong'),
    new RootLockedError('/x', 12),
    new ControlPlaneError('PortTaken', 'port: 1 is used'),
    new PackagesError('install qemu'),
    new TemplateBuildError('no room'),
  ])('$name is one line and exit code 1', (error) => {
    expect(explainFailure(error)).toEqual({ text: `shoes-vz: ${error.message}`, exitCode: 1 });
  });

  it('keeps a message of several lines, as an API server may send it, to one', () => {
    const { text } = explainFailure(new ApiError(422, 'Invalid', 'spec is wrong:\n  * a\r\n  * b\n'));
    expect(text).toBe('shoes-vz: spec is wrong: * a * b');
  });

  it('takes what the operating system refuses for no bug', async () => {
    const refusal = await stat('/nowhere/at/all').catch((error: unknown) => error);
    expect(explainFailure(refusal)).toEqual({
      text: expect.stringMatching(/^shoes-vz: ENOENT: .*'\/nowhere\/at\/all'$/),
      exitCode: 1,
    });
  });

  it('says which signal stopped the work, as shells do', () => {
    expect(explainFailure(new StoppedError('SIGINT'))).toEqual({
      text: 'shoes-vz: stopped by SIGINT',
      exitCode: 130,
    });
    expect(explainFailure(new StoppedError('SIGTERM')).exitCode).toBe(143);
  });

  it('shows the stack of anything else, and says that it is a bug', () => {
    const { text, exitCode } = explainFailure(new TypeError('x is undefined'));
    expect(text).toMatch(/^shoes-vz: this is a bug: TypeError: x is undefined\n {4}at /);
    expect(exitCode).toBe(70);
    expect(explainFailure('thrown text').text).toBe('shoes-vz: this is a bug: thrown text');
  });
});

/** Errors that never leave the room they are made in. */
const INTERNAL = ['SilentWatch', 'StreamingListUnsupported', 'StaleRunnerError'];

describe('every error class of the product', async () => {
  const rooms = ['kube', 'controller', 'node-daemon', 'cli'];
  const files = await Promise.all(rooms.map((room) => readdir(join(REPOSITORY, room), { recursive: true })));
  const sources = rooms.flatMap((room, index) =>
    (files[index] ?? [])
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
      .map((file) => join(REPOSITORY, room, file)),
  );
  const texts = await Promise.all(sources.map((path) => readFile(path, 'utf8')));
  const classes = texts.flatMap((text) => [...text.matchAll(/class (\w+) extends (\w*Error)\b/g)]);

  it('is either explained to people or internal', () => {
    const unexplained = classes.filter(([, , base]) => base === 'Error').map(([, name]) => name);
    expect(unexplained.filter((name) => !INTERNAL.includes(name ?? ''))).toEqual(['ExplainedError']);
    expect(classes.length).toBeGreaterThan(15);
  });
});
