import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ApiError, ApiUnreachable } from './errors.ts';
import type { Thing } from './testing/model-collection.ts';
import { parseWatchStream, type WatchEvent } from './watch.ts';

async function* pieces(bytes: Uint8Array, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (const cut of [...cuts, bytes.length].sort((a, b) => a - b)) {
    yield bytes.subarray(start, Math.min(cut, bytes.length));
    start = Math.min(cut, bytes.length);
  }
}

async function parse(text: string, cuts: readonly number[] = []): Promise<WatchEvent<Thing>[]> {
  const events: WatchEvent<Thing>[] = [];
  for await (const event of parseWatchStream<Thing>('https://api', pieces(Buffer.from(text), cuts)))
    events.push(event);
  return events;
}

const line = (type: string, resourceVersion: string, name = 'a') =>
  `${JSON.stringify({ type, object: { kind: 'Thing', metadata: { name, resourceVersion } } })}\n`;

describe('reading a watch', () => {
  test('finds the same events wherever the network cuts the bytes', async () => {
    const text = line('ADDED', '1', '日本語') + line('MODIFIED', '2') + line('DELETED', '3');
    const whole = await parse(text);
    expect(whole.map((event) => event.type)).toEqual(['ADDED', 'MODIFIED', 'DELETED']);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(Buffer.byteLength(text)), { maxLength: 20 }), async (cuts) => {
        expect(await parse(text, cuts)).toEqual(whole);
      }),
    );
  });

  test('knows the bookmark that ends a streaming list', async () => {
    const annotations = { 'k8s.io/initial-events-end': 'true' };
    const end = JSON.stringify({
      type: 'BOOKMARK',
      object: { metadata: { resourceVersion: '7', annotations } },
    });
    expect(await parse(`${line('BOOKMARK', '6')}${end}\n`)).toEqual([
      { type: 'BOOKMARK', resourceVersion: '6', initialEventsEnd: false },
      { type: 'BOOKMARK', resourceVersion: '7', initialEventsEnd: true },
    ]);
  });

  test('throws an ERROR event as the error that it is', async () => {
    const status = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
    const failure = parse(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
    await expect(failure).rejects.toEqual(new ApiError(410, 'Expired', 'too old resource version'));
  });

  test.each([
    ['what is not JSON', 'oops\n'],
    ['an event without an object', '{"type":"ADDED"}\n'],
    ['an event of an unknown type', line('REPLACED', '1')],
    ['null', 'null\n'],
    ['an end in the middle of an event', line('ADDED', '1').slice(0, -5)],
  ])('skips nothing: %s ends it', async (_, text) => {
    const failure = await parse(text).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ApiUnreachable);
    expect(failure).toMatchObject({ reason: 'Garbled' });
  });

  test('does not hold an endless line in memory', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      const chunk = new Uint8Array(1024 * 1024).fill(0x61);
      for (;;) yield chunk;
    }
    const read = async () => {
      for await (const _ of parseWatchStream('https://api', endless())) expect.unreachable();
    };
    await expect(read()).rejects.toMatchObject({ reason: 'Garbled' });
  });
});
