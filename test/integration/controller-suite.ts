import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { runnerClass } from '../builders/runner-class.ts';
import { template } from '../builders/template.ts';
import { startTestControlPlane, type TestControlPlane } from '../harness/control-plane.ts';
import { controllerClient } from './controller-client.ts';
import { ControllerWorld } from './controller-world.ts';

/** What the tests of one file have: a control plane of their own, since a controller minds all namespaces. */
export interface Suite {
  readonly controlPlane: TestControlPlane;
  /** Fresh for each test. */
  readonly world: ControllerWorld;
}

/** Registers the hooks. The members may be read inside of tests. */
export function controllerSuite(): Suite {
  let controlPlane: TestControlPlane;
  let admin: KubeClient;
  let limited: KubeClient;
  let world: ControllerWorld;
  beforeAll(async () => {
    controlPlane = await startTestControlPlane();
    const { kubeconfigPath, dataDir } = controlPlane;
    admin = loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-test/0' });
    limited = await controllerClient(admin, kubeconfigPath, dataDir);
  });
  afterAll(async () => {
    await Promise.all([admin.close(), limited.close()]);
    await controlPlane.destroy();
  });
  beforeEach(async () => {
    const log = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' });
    world = await ControllerWorld.open({ client: admin, controllerClient: limited, log });
  });
  afterEach(async () => {
    await world.close();
  });
  return {
    get controlPlane() {
      return controlPlane;
    },
    get world() {
      return world;
    },
  };
}

/** The Template `linux` and the class `small`, which Runners of the builders name. */
export async function withBasics(world: ControllerWorld): Promise<void> {
  await world.template(template());
  await world.runnerClass(runnerClass());
}
