import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { KINDS, type KindDefinition } from '../../crds/kinds.ts';
import { API_VERSION } from '../../crds/meta.ts';
import {
  Digest,
  DnsName,
  Duration,
  HostName,
  LabelSelector,
  Reserve,
  SecretKey,
  Size,
  UserName,
} from '../../crds/scalars.ts';
import { arbitraryOf } from '../builders/arbitrary.ts';
import { type Kubectl, openKubectl } from './crds-kubectl.ts';

let kubectl: Kubectl;

beforeAll(async () => {
  kubectl = await openKubectl();
});

afterAll(() => kubectl?.close());

/** Each batch is a run of kubectl: a failing one is shown as it is, for shrinking it would take minutes. */
const BATCHES = { numRuns: 4, endOnFailure: true };
const BATCH = { minLength: 20, maxLength: 40 };

/** Which of the specs the API server would accept, judged by it in one go, and what it says of the others. */
async function judge(
  kind: string,
  specs: readonly unknown[],
): Promise<{ accepted: boolean[]; says: string }> {
  const items = specs.map((spec, index) => ({
    apiVersion: API_VERSION,
    kind,
    metadata: { name: `n${index}`, ...(kind === 'Runner' && { namespace: 'default' }) },
    spec,
  }));
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  const { stdout, stderr } = await kubectl.run(['create', '--dry-run=server', '-o', 'name', '-f', '-'], list);
  const names = new Set(stdout.split('\n').map((line) => line.slice(line.indexOf('/') + 1)));
  return { accepted: items.map(({ metadata }) => names.has(metadata.name)), says: stderr };
}

/** Only the controller may write a binding. */
const asCreated = (spec: unknown): unknown => {
  const { binding: _, ...rest } = Object(spec);
  return rest;
};

describe('the API server accepts what the zod schemas accept', () => {
  const kinds = KINDS.map((kind): [string, KindDefinition] => [kind.resource.kind, kind]);

  test.each(kinds)('%s', async (name, kind) => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbitraryOf(kind.spec).map(asCreated), BATCH), async (specs) => {
        expect(await judge(name, specs)).toEqual({ accepted: specs.map(() => true), says: '' });
      }),
      BATCHES,
    );
  });
});

describe('the API server and zod judge a text alike', () => {
  /** A text that the schema accepts, or one that is wrong in one character. */
  const nearly = (schema: z.ZodType): fc.Arbitrary<string> => {
    const good = arbitraryOf(schema).map(String);
    const spoilt = fc
      .tuple(good, fc.nat({ max: 80 }), fc.constantFrom(...'aZ0-_./: \n', ''), fc.boolean())
      .map(([text, at, char, replace]) => text.slice(0, at) + char + text.slice(replace ? at + 1 : at));
    return fc.oneof(good, spoilt, fc.string());
  };

  const template = { os: 'linux', arch: 'amd64', source: { bundle: { name: 'linux' } } };
  const secretKeyRef = { name: 'a', key: 'b' };

  test.each<[string, z.ZodType, string, (text: string) => unknown]>([
    ['DnsName', DnsName, 'Runner', (templateName) => ({ templateName })],
    ['HostName', HostName, 'Runner', (runnerName) => ({ templateName: 'a', runnerName })],
    ['Duration', Duration, 'Runner', (boot) => ({ templateName: 'a', timeouts: { boot } })],
    [
      'SecretKey',
      SecretKey,
      'Runner',
      (key) => ({ templateName: 'a', setupScript: { secretKeyRef: { ...secretKeyRef, key } } }),
    ],
    ['UserName', UserName, 'Template', (user) => ({ ...template, ssh: { user } })],
    ['Digest', Digest, 'Template', (digest) => ({ ...template, source: { bundle: { name: 'a', digest } } })],
    ['Reserve', Reserve, 'MacHost', (memory) => ({ reserved: { memory } })],
    ['Size', Size, 'RunnerClass', (memory) => ({ cpu: 1, memory, disk: '1Gi' })],
  ])('%s', async (_, schema, kind, specOf) => {
    await fc.assert(
      fc.asyncProperty(fc.array(nearly(schema), BATCH), async (texts) => {
        const { accepted } = await judge(kind, texts.map(specOf));
        expect(texts.map((text, index) => [text, accepted[index]])).toEqual(
          texts.map((text) => [text, schema.safeParse(text).success]),
        );
      }),
      BATCHES,
    );
  });

  test.each<[string, z.ZodType, (text: string) => Record<string, string>]>([
    ['the key of a label', LabelSelector.keyType, (key) => ({ [key]: 'v' })],
    ['the value of a label', LabelSelector.valueType, (value) => ({ k: value })],
  ])('%s', async (_, schema, selectorOf) => {
    await fc.assert(
      fc.asyncProperty(fc.array(nearly(schema), BATCH), async (texts) => {
        const specs = texts.map((text) => ({ templateName: 'a', hostSelector: selectorOf(text) }));
        const { accepted } = await judge('Runner', specs);
        expect(texts.map((text, index) => [text, accepted[index]])).toEqual(
          texts.map((text) => [text, LabelSelector.safeParse(selectorOf(text)).success]),
        );
      }),
      BATCHES,
    );
  });
});
