import type { ControllerWorld } from './controller-world.ts';

/** Ends each Runner some time after it was bound, until so many have been. */
export async function finishAsTheyCome(world: ControllerWorld, total: number): Promise<void> {
  const finished = new Set<string>();
  while (finished.size < total) {
    const next = () => world.boundOrder.filter((name) => !finished.has(name));
    await world.until(`one more Runner bound after ${finished.size}`, () => next().length > 0);
    const names = next().slice(0, 10);
    for (const name of names) finished.add(name);
    await Promise.all(names.map(async (name) => await world.finish(name)));
  }
}

export async function inBatches(
  names: readonly string[],
  size: number,
  make: (name: string) => Promise<void>,
) {
  for (let start = 0; start < names.length; start += size) {
    await Promise.all(names.slice(start, start + size).map(make));
  }
}

/** The most Runners that any host held at any moment, by replaying all that was seen. */
export function mostAtOnce(world: ControllerWorld): number {
  const hostOf = new Map<string, string>();
  let most = 0;
  for (const { metadata, spec } of world.sights) {
    const holds = spec.binding !== undefined && (metadata.finalizers ?? []).length > 0;
    if (holds) hostOf.set(metadata.uid, spec.binding?.hostName ?? '');
    else hostOf.delete(metadata.uid);
    const counts = new Map<string, number>();
    for (const host of hostOf.values()) counts.set(host, (counts.get(host) ?? 0) + 1);
    most = Math.max(most, ...counts.values());
  }
  return most;
}

/** UIDs of all hosts that a Runner was ever seen bound to. */
export const hostsEverBound = (world: ControllerWorld, name: string): ReadonlySet<string | undefined> =>
  new Set(
    world.sights
      .filter(({ metadata, spec }) => metadata.name === name && spec.binding !== undefined)
      .map(({ spec }) => spec.binding?.hostUID),
  );
