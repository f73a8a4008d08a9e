import type { Condition } from '../../crds/meta.ts';
import { type Overrides, withOverrides } from './overrides.ts';

/** A condition that is True unless told otherwise. */
export const condition = (type: string, overrides?: Overrides<Condition>): Condition =>
  withOverrides<Condition>(
    {
      type,
      status: 'True',
      reason: 'AsExpected',
      message: 'as expected',
      lastTransitionTime: '2026-01-01T00:00:00Z',
      observedGeneration: 1,
    },
    overrides,
  );
