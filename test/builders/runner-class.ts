import { API_VERSION } from '../../crds/meta.ts';
import { DEFAULT_CLASS_ANNOTATION, type RunnerClass } from '../../crds/runner-class.ts';
import { type Overrides, withOverrides } from './overrides.ts';

/** The RunnerClass `small`: 2 CPUs, 4 GiB of memory, 20 GiB of disk; not the default one. */
export const runnerClass = (overrides?: Overrides<RunnerClass>): RunnerClass =>
  withOverrides<RunnerClass>(
    {
      apiVersion: API_VERSION,
      kind: 'RunnerClass',
      metadata: { name: 'small' },
      spec: { cpu: 2, memory: '4Gi', disk: '20Gi' },
    },
    overrides,
  );

/** {@link runnerClass}, annotated as the default. */
export const defaultRunnerClass = (overrides?: Overrides<RunnerClass>): RunnerClass =>
  withOverrides(
    runnerClass({ metadata: { annotations: { [DEFAULT_CLASS_ANNOTATION]: 'true' } } }),
    overrides,
  );
