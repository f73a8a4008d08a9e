import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GuestRunnerState } from './protocol.ts';
import type { RunnerProcess } from './runner-processes.ts';
import { NO_RUNNER, nextTrack, type RunnerSighting, runnerNameOf } from './runner-state.ts';

const ROOT = '/home/runner/actions-runner';
const process = (role: RunnerProcess['role'], root = ROOT): RunnerProcess => ({ role, root });
const see = (...roles: RunnerProcess['role'][]): RunnerSighting => ({
  processes: roles.map((role) => process(role)),
  configuredAs: undefined,
});
const configured: RunnerSighting = { processes: [], configuredAs: 'runner-1' };

function statesOf(sightings: readonly RunnerSighting[]): GuestRunnerState[] {
  let track = NO_RUNNER;
  return sightings.map((sighting) => {
    track = nextTrack(track, sighting);
    return track.state;
  });
}

describe('nextTrack', () => {
  test.each<[string, RunnerSighting[], GuestRunnerState[]]>([
    ['nothing', [see(), see()], ['NoRunner', 'NoRunner']],
    [
      'a whole life',
      [
        see('configure'),
        configured,
        see('wrapper', 'listen'),
        see('wrapper', 'listen', 'work'),
        see('wrapper'),
        see(),
        see(),
      ],
      ['Starting', 'Starting', 'Idle', 'Running', 'Running', 'Running', 'Finished'],
    ],
    ['a failed registration', [see('configure'), see()], ['Starting', 'NoRunner']],
    ['a runner configured just in time', [see('listen'), see('work')], ['Idle', 'Running']],
    ['the end of an idle runner', [see('listen'), see(), see()], ['Idle', 'Idle', 'Finished']],
    ['one missed look', [see('listen'), see(), see('listen')], ['Idle', 'Idle', 'Idle']],
    [
      'an update of the listener by itself',
      [see('wrapper', 'listen'), see('wrapper'), see('wrapper'), see('wrapper'), see('wrapper', 'listen')],
      ['Idle', 'Idle', 'Idle', 'Idle', 'Idle'],
    ],
    [
      "somebody else's run.sh",
      [see('listen'), { processes: [process('wrapper', '/srv/app')], configuredAs: undefined }, see()],
      ['Idle', 'Idle', 'Finished'],
    ],
    [
      'a listener after the end',
      [see('listen'), see(), see(), see('listen')],
      ['Idle', 'Idle', 'Finished', 'Finished'],
    ],
  ])('%s', (_, sightings, expected) => {
    expect(statesOf(sightings)).toEqual(expected);
  });

  test('keeps the name that the runner registered under', () => {
    const track = nextTrack(nextTrack(NO_RUNNER, configured), see('listen'));
    expect(track).toMatchObject({ state: 'Idle', runnerName: 'runner-1' });
  });

  test('is final once finished, and says finished only of what was there', () => {
    const role = fc.constantFrom('listen', 'configure', 'work', 'wrapper');
    const sighting = fc.record({
      processes: fc.array(fc.record({ role, root: fc.constantFrom(ROOT, undefined) }), { maxLength: 3 }),
      configuredAs: fc.option(fc.constant('runner-1'), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(sighting as fc.Arbitrary<RunnerSighting>, { maxLength: 12 }), (sightings) => {
        const states = statesOf(sightings);
        const end = states.indexOf('Finished');
        if (end === -1) return;
        expect(states.slice(end)).toEqual(states.slice(end).map(() => 'Finished'));
        expect(states.slice(0, end).some((state) => state === 'Idle' || state === 'Running')).toBe(true);
      }),
    );
  });
});

describe('runnerNameOf', () => {
  test.each([
    ['{"agentName":"runner-1"}', 'runner-1'],
    ['\uFEFF{"agentId":1,"agentName":"runner-1"}', 'runner-1'],
    ['{"agentName":', undefined],
    ['{"agentName":7}', undefined],
    ['{"agentName":""}', undefined],
    ['null', undefined],
    ['', undefined],
  ])('%j → %j', (text, name) => {
    expect(runnerNameOf(text)).toBe(name);
  });
});
