import { parseArgs } from 'node:util';

/** Whole numbers from the command line, `--name N`, with their defaults. Throws on any other flag or value. */
export function numberFlags<N extends string>(defaults: Readonly<Record<N, number>>): Record<N, number> {
  const names = Object.keys(defaults);
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  const { values } = parseArgs({ options });
  const parsed: Record<N, number> = { ...defaults };
  for (const name in parsed) {
    const text = values[name];
    if (text === undefined) continue;
    if (typeof text !== 'string' || !/^[0-9]+$/.test(text))
      throw new Error(`--${name}: a whole number is needed`);
    parsed[name] = Number(text);
  }
  return parsed;
}
