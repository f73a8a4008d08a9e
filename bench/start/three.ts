import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { type StartFigures, startFigures, type TurnFigures } from './figures.ts';
import { measureHandshake } from './handshake.ts';
import { summarizeEach } from './one.ts';
import type { Stage } from './stage.ts';

const AT_ONCE = [1, 2, 3] as const;

interface Round {
  readonly starts: readonly StartFigures[];
  readonly turns: readonly TurnFigures[];
}

/** Starts three Runners at once on a host that takes three, three more waiting when all of them go. */
export async function measureThreeAtOnce(
  stage: Stage,
  rounds: number,
  tell: (line: string) => void,
): Promise<object> {
  const done: Round[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    done.push(await runRound(stage, round));
    tell(`three at once, round ${round} of ${rounds}`);
  }
  return {
    ...summarizeEach(done.flatMap(({ starts }) => starts)),
    ...summarizeEach(done.flatMap(({ turns }) => turns)),
  };
}

async function runRound(stage: Stage, round: number): Promise<Round> {
  const { world, moments } = stage;
  const posted = AT_ONCE.map(async (index) => {
    const name = `three-${round}-${index}`;
    const postedAt = performance.now();
    return { name, postedAt, uid: (await world.create(name)).metadata.uid };
  });
  const runners = await Promise.all(posted);
  for (const { uid } of runners) await moments.seen(`${uid} ready`);
  for (const { uid } of runners) await moments.seen(`${uid} agent up`);
  const starts: StartFigures[] = [];
  for (const { name, uid, postedAt } of runners) {
    const runner = await world.client.resources<Runner>(RUNNERS).get({ namespace: 'default', name });
    if (runner === undefined) throw new Error(`${name} is gone`);
    starts.push(startFigures(stage, uid, postedAt, await measureHandshake(world.hostRoot, runner)));
  }
  return { starts, turns: await runTurn(stage, round, runners) };
}

/** Which of the freed slots a waiting Runner gets is nobody's business: the n-th binding is paired with the n-th end. */
async function runTurn(
  { world, moments }: Stage,
  round: number,
  runners: readonly { name: string; uid: string }[],
): Promise<TurnFigures[]> {
  const next = await Promise.all(
    AT_ONCE.map(async (index) => {
      const name = `three-next-${round}-${index}`;
      return { name, uid: (await world.create(name)).metadata.uid };
    }),
  );
  for (const { uid } of next) await moments.seen(`${uid} told`);
  const deletedAt = performance.now();
  await Promise.all(runners.map(({ name }) => world.delete(name)));
  const boundAt = await Promise.all(next.map(({ uid }) => moments.seen(`${uid} bound`)));
  // The daemon may see that a process is gone before this one is told so.
  for (const { uid } of runners) await moments.seen(`${uid} ended`);
  const ends = runners
    .map(({ uid }) => ({ killed: moments.at(`${uid} killed`), ended: moments.at(`${uid} ended`) }))
    .sort((a, b) => a.ended - b.ended);
  const turns = boundAt
    .toSorted((a, b) => a - b)
    .map((at, index) => {
      const { killed, ended } = ends[index] ?? { killed: 0, ended: 0 };
      return {
        turn: at - deletedAt,
        vmEnd: ended - killed,
        turnBeyondVmEnd: at - deletedAt - (ended - killed),
      };
    });
  await Promise.all(next.map(({ name }) => world.delete(name)));
  for (const { uid } of [...runners, ...next]) await moments.seen(`${uid} gone`);
  return turns;
}
