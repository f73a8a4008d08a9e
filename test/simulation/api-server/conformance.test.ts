import { SYSTEM_NAMESPACE } from '../../../crds/meta.ts';
import { Life } from '../life.ts';
import { Random } from '../random.ts';
import { Timeline } from '../timeline.ts';
import { SimClient } from './client.ts';
import { conformance } from './conformance.ts';
import { Frontend } from './frontend.ts';
import { Link } from './link.ts';
import { ApiServer } from './server.ts';

const NAMESPACE = 'conformance';

/** The simulated API server over a timeline that runs as fast as it can. */
conformance('simulated', async () => {
  const timeline = new Timeline();
  const random = new Random(1);
  const now = (): number => Date.parse('2026-01-01T00:00:00Z') + timeline.now;
  const namespaces = [NAMESPACE, SYSTEM_NAMESPACE];
  const server = new ApiServer({ now, uid: () => random.uuid(), namespaces });
  const machine = { wallErrorMs: 0, bootedAt: 0 };
  const life = new Life({ name: 'suite', number: 1, timeline, random, machine, diesAt: () => false });
  const frontend = new Frontend(server, timeline, random);
  const client = new SimClient({ timeline, frontend, link: new Link(random), life });
  let names = 0;
  let isOver = false;
  const turn = (): void => {
    timeline.after(1, turn);
  };
  turn();
  const running = timeline.run(() => isOver);
  return {
    client,
    namespace: NAMESPACE,
    name: (prefix) => {
      names += 1;
      return `${prefix}-${names}`;
    },
    close: async () => {
      isOver = true;
      await running;
    },
  };
});
