import type { TestProject } from 'vitest/node';
import { startTestControlPlane } from './control-plane.ts';

/** One control plane for all test files of a project; each file works in a namespace of its own. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const controlPlane = await startTestControlPlane();
  project.provide('kubeconfig', controlPlane.kubeconfigPath);
  project.provide('kubectl', controlPlane.kubectl);
  return () => controlPlane.destroy();
}
