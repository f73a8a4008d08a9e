import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import {
  type ControlPlane,
  type ControlPlaneOptions,
  startControlPlane,
} from '../../cli/control-plane/control-plane.ts';
import { GENERATED_CRDS, installCrds } from '../../cli/control-plane/crds.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of the administrator's kubeconfig for the control plane that the project's test files share. */
    kubeconfig: string;
    /** Path of a kubectl of its version. */
    kubectl: string;
  }
}

/** A control plane of a test's own. */
export interface TestControlPlane extends ControlPlane {
  readonly dataDir: string;
  /** Starts it again on the same data and port, after `stop` or after it was killed. */
  restart(): Promise<TestControlPlane>;
  /** Stops it and removes its data. Idempotent. */
  destroy(): Promise<void>;
}

export type TestControlPlaneOptions = Partial<Omit<ControlPlaneOptions, 'log'>>;

/**
 * Starts a real control plane in a directory of its own, with the CRDs installed. For tests that stop,
 * restart or audit it; all others share one: see {@link testClient}.
 */
export async function startTestControlPlane(
  options: TestControlPlaneOptions = {},
): Promise<TestControlPlane> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'svz-')));
  const controlPlane = await startControlPlane({
    unsafeNoFsync: true,
    ...options,
    dataDir,
    log: (line) => process.stderr.write(`${line}\n`),
  });
  try {
    await installGeneratedCrds(controlPlane.kubeconfigPath);
  } catch (error) {
    await controlPlane.stop();
    throw error;
  }
  const port = Number(new URL(controlPlane.server).port);
  return {
    ...controlPlane,
    dataDir,
    restart: () => startTestControlPlane({ ...options, dataDir, port }),
    destroy: async () => {
      await controlPlane.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function installGeneratedCrds(kubeconfigPath: string): Promise<void> {
  if (!existsSync(GENERATED_CRDS)) return;
  const client = loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-test/0' });
  try {
    await installCrds(client);
  } finally {
    await client.close();
  }
}

/** A client of the shared control plane. The caller closes it. */
export function testClient(): KubeClient {
  return loadKubeClient({ kubeconfigPath: inject('kubeconfig'), userAgent: 'shoes-vz-test/0' });
}

interface Namespace extends KubeObject {
  kind: 'Namespace';
}

const NAMESPACES: ResourceType<Namespace> = {
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};

/**
 * Makes a namespace that no other test uses and returns its name. It is left behind: without a
 * controller-manager a namespace is never finalised, and the whole control plane goes at the end.
 */
export async function testNamespace(client: KubeClient): Promise<string> {
  const name = uniqueName('test');
  await client.resources(NAMESPACES).create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  return name;
}

/** A name for a cluster-scoped object that no other test uses. */
export const uniqueName = (prefix: string): string => `${prefix}-${randomBytes(4).toString('hex')}`;
