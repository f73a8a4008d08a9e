import { describe, expect, test } from 'vitest';
import type { Stored } from './object.ts';
import { type WithStatus, writeStatus } from './status.ts';

const observed: Stored<WithStatus> = {
  apiVersion: 'test.dev/v1',
  kind: 'Thing',
  metadata: { name: 'a', namespace: 'n', uid: 'u', resourceVersion: '7', creationTimestamp: '' },
  status: { phase: 'Pending', parts: ['a'] },
};

function recorder() {
  const sent: unknown[] = [];
  const patchStatus = (ref: { name: string }, resourceVersion: string, patch: object) => {
    sent.push({ name: ref.name, resourceVersion, patch });
    return Promise.resolve({ ...observed, metadata: { ...observed.metadata, resourceVersion: '8' } });
  };
  return { sent, patchStatus };
}

describe('writing status', () => {
  test('sends nothing where nothing differs', async () => {
    const resources = recorder();
    const result = await writeStatus(resources, observed, {
      parts: ['a'],
      phase: 'Pending',
      more: undefined,
    });
    expect(result).toEqual({ written: false, object: observed });
    expect(resources.sent).toEqual([]);
  });

  test('sends what differs, once, fenced by what was observed', async () => {
    const resources = recorder();
    const result = await writeStatus(resources, observed, { phase: 'Ready' });
    expect(result.written).toBe(true);
    expect(result.object.metadata.resourceVersion).toBe('8');
    expect(resources.sent).toEqual([
      { name: 'a', resourceVersion: '7', patch: { status: { phase: 'Ready', parts: null } } },
    ]);
  });

  test('takes an object without status for one whose status is empty', async () => {
    const resources = recorder();
    const { status: _, ...bare } = observed;
    expect((await writeStatus(resources, bare, {})).written).toBe(false);
    await writeStatus(resources, bare, { phase: 'Ready' });
    expect(resources.sent).toMatchObject([{ patch: { status: { phase: 'Ready' } } }]);
  });
});
