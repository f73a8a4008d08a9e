import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { testClient, testNamespace } from '../harness/control-plane.ts';

const exec = promisify(execFile);

describe('the shared control plane', () => {
  const client = testClient();
  afterAll(() => client.close());

  it('answers kubectl, in a namespace made for this file, with our kinds', async () => {
    const namespace = await testNamespace(client);
    const kubectl = (...args: string[]) =>
      exec(inject('kubectl'), ['--kubeconfig', inject('kubeconfig'), '-n', namespace, ...args]);
    const resources = await kubectl('api-resources', '--api-group=shoesvz.dev', '-o', 'name');
    expect(resources.stdout.trim().split('\n').sort()).toEqual([
      'linuxhosts.shoesvz.dev',
      'machosts.shoesvz.dev',
      'runnerclasses.shoesvz.dev',
      'runners.shoesvz.dev',
      'templates.shoesvz.dev',
    ]);
    expect((await kubectl('get', 'runners')).stderr).toContain('No resources found');
  });
});
