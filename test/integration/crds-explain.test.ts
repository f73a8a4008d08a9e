import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Kubectl, openKubectl } from './crds-kubectl.ts';

let kubectl: Kubectl;

beforeAll(async () => {
  kubectl = await openKubectl();
});

afterAll(() => kubectl?.close());

/** One field as `kubectl explain` shows it. */
interface Explained {
  /** From the kind on: runner.spec.timeouts.boot */
  readonly path: string;
  readonly type: string;
  readonly required: boolean;
  readonly text: string;
}

/** Kubernetes' own; nothing of ours to document. */
const STANDARD = ['apiVersion', 'kind', 'metadata'];

/** Every field below the path, to any depth. */
async function explain(path: string): Promise<Explained[]> {
  const [, fields = ''] = (await kubectl.ok(['explain', path])).split('\nFIELDS:\n');
  const found: Explained[] = [];
  for (const [, name = '', type = '', required, text = ''] of fields.matchAll(FIELD)) {
    if (STANDARD.includes(name)) continue;
    const field = { path: `${path}.${name}`, type, required: required !== undefined };
    found.push({ ...field, text: text.replaceAll(/\s+/g, ' ').trim() });
    if (/Object>$/.test(type)) found.push(...(await explain(field.path)));
  }
  return found;
}

/** `  name\t<type> -required-`, the values of an enum, then its text, further indented. */
const FIELD = /^ {2}(\S+)\t(<.+?>)( -required-)?\n(?: {2}enum: .*\n)?((?: {4}.*\n)*)/gm;

const KINDS = ['runner', 'template', 'machost', 'linuxhost', 'runnerclass'] as const;

describe('kubectl explain', () => {
  let fields: Readonly<Record<(typeof KINDS)[number], Explained[]>>;

  beforeAll(async () => {
    const explained = KINDS.map(async (kind) => [kind, await explain(kind)] as const);
    fields = Object.fromEntries(await Promise.all(explained)) as typeof fields;
  });

  test.each(KINDS)('says of a %s what it is', async (kind) => {
    const text = await kubectl.ok(['explain', kind]);
    expect(text).toMatch(/DESCRIPTION:\n {4}[A-Z]/);
    expect(text).not.toContain('<empty>');
  });

  test.each(KINDS)('has a sentence for every field of a %s', (kind) => {
    expect(fields[kind].length).toBeGreaterThan(3);
    for (const field of fields[kind]) {
      expect(field).toMatchObject({ text: expect.stringMatching(/^[A-Z].*\.$/) });
    }
  });

  test.each(KINDS)('says of every field of a %s that may be left out what then holds', (kind) => {
    const optional = fields[kind].filter(
      ({ path, required }) => path.startsWith(`${kind}.spec.`) && !required,
    );
    for (const field of optional) expect(field).toMatchObject({ text: expect.stringContaining('Default: ') });
  });

  test('names the unit of every size, time and duration', () => {
    const all = Object.values(fields).flat();
    const units: [RegExp, string][] = [
      [/\.(memory|disk)$/, 'in bytes or with a unit'],
      [/Ms$/, 'in milliseconds'],
      [/\.activeDeadlineSeconds$/, 'in seconds since its creation'],
      [/\.ttlSecondsAfterFinished$/, 'in seconds after the Runner is over'],
      [/\.(startedAt|finishedAt|lastTransitionTime)$/, 'as RFC 3339 writes times'],
      [/\.spec\.timeouts\.\w+$/, 'as a duration such as 90s or 5m'],
      [/Seconds(AfterFinished)?$/, 'in seconds'],
    ];
    for (const [name, unit] of units) {
      const measured = all.filter(({ path }) => name.test(path));
      expect(measured).not.toEqual([]);
      for (const field of measured) {
        expect({ ...field, text: field.text.toLowerCase() }).toMatchObject({
          text: expect.stringContaining(unit.toLowerCase()),
        });
      }
    }
  });
});
