/** A controller that can be killed at each of its side effects. See child.ts. */
import { runController } from '../../controller/main.ts';
import { type ChildOptions, runChild } from './child.ts';

export interface ControllerProgramOptions extends ChildOptions {
  readonly hostGraceMs?: number | undefined;
}

await runChild<ControllerProgramOptions>('controller', async ({ hostGraceMs }, { client, log }) => {
  const controller = await runController({ client, log, hostGraceMs });
  await controller.ready;
  return () => controller.stop();
});
