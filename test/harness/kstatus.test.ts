import { expect, test } from 'vitest';
import { condition } from '../builders/condition.ts';
import { kstatus } from './kstatus.ts';

const KIND = { apiVersion: 'example.com/v1', kind: 'Thing' };
const name = 'one';

test.each([
  ['nothing is said', {}, undefined, 'Current'],
  ['it is being deleted', { deletionTimestamp: '2026-01-01T00:00:00Z' }, undefined, 'Terminating'],
  ['its generation was not looked at', { generation: 2 }, { observedGeneration: 1 }, 'InProgress'],
  ['its generation was', { generation: 2 }, { observedGeneration: 2 }, 'Current'],
  ['nobody says which generation was looked at', { generation: 2 }, {}, 'Current'],
  ['Reconciling', {}, { conditions: [condition('Reconciling'), condition('Ready')] }, 'InProgress'],
  ['not Reconciling', {}, { conditions: [condition('Reconciling', { status: 'False' })] }, 'Current'],
  ['Stalled, though Ready', {}, { conditions: [condition('Ready'), condition('Stalled')] }, 'Failed'],
  [
    'Stalled before Reconciling',
    {},
    { conditions: ['Stalled', 'Reconciling'].map((t) => condition(t)) },
    'Failed',
  ],
  ['Ready', {}, { conditions: [condition('Ready')] }, 'Current'],
  ['not Ready', {}, { conditions: [condition('Ready', { status: 'False' })] }, 'InProgress'],
  [
    'Ready or not, nobody knows',
    {},
    { conditions: [condition('Ready', { status: 'Unknown' })] },
    'InProgress',
  ],
] as const)('where %s', (_, metadata, status, verdict) => {
  expect(kstatus({ ...KIND, metadata: { name, ...metadata }, ...(status && { status }) })).toBe(verdict);
});
