import type { FailedAttempt, Runner } from '../../crds/runner.ts';
import type { KubeEvent } from '../../kube/events.ts';
import type { Stored } from '../../kube/object.ts';
import { inWords } from './duration.ts';
import type { Step } from './steps.ts';
import { type Trace, traceOf } from './trace.ts';

const LABELS: Readonly<Record<Step['step'], string>> = {
  host: 'wait for a host',
  clone: 'clone',
  start: 'start of the VM',
  boot: 'boot until SSH',
  setup: 'setup script',
  use: 'in use',
  teardown: 'teardown',
};

const LABEL_WIDTH = 2 + Math.max(...Object.values(LABELS).map((label) => label.length));
const DURATION_WIDTH = 13;

/**
 * The life of one Runner in lines for a person: its parts with how long each took, what it waits for now or how
 * it ended, and what one would do next. Pure; see {@link traceOf}.
 */
export const story = (runner: Stored<Runner>, events: readonly KubeEvent[], now: number): string[] =>
  linesOf(traceOf(runner, events, now));

export function linesOf(trace: Trace): string[] {
  const { says, reason, advice } = trace.now;
  const output = trace.outputTail?.trimEnd() ?? '';
  const lines = [
    heading(trace),
    '',
    ...trace.steps.flatMap(stepLines),
    `  ${'in all'.padEnd(LABEL_WIDTH)}${inWords(trace.totalMs, { exact: false })}`,
    ...failureLines(trace.failedStarts ?? []),
    '',
    reason === undefined ? says : `${says} (${reason})`,
    ...(advice === undefined ? [] : [advice]),
    ...(output === ''
      ? []
      : ['', 'The script wrote last:', ...output.split('\n').map((line) => `  ${line}`)]),
  ];
  return lines.map(printable);
}

function heading({ namespace, name, phase, deleting, host, attempt }: Trace): string {
  const where = host === undefined ? '' : `, on ${host}`;
  const again = attempt === undefined || attempt === 1 ? '' : `, attempt ${attempt}`;
  return `Runner ${namespace}/${name}: ${phase}${deleting ? ', being deleted' : ''}${where}${again}`;
}

function stepLines({ step, state, ms, exact, reasons = [], exitCode }: Step): string[] {
  const remark = [
    ...(state === 'done' ? [] : [state === 'under way' ? 'so far' : 'broken off']),
    ...(exitCode === undefined ? [] : [`exit code ${exitCode}`]),
  ].join(', ');
  const line = `  ${LABELS[step].padEnd(LABEL_WIDTH)}${inWords(ms, { exact }).padEnd(DURATION_WIDTH)}${remark}`;
  const details = reasons.map(
    (why) => `  ${''.padEnd(LABEL_WIDTH)}${inWords(why.ms).padEnd(DURATION_WIDTH)}${why.reason}: ${why.note}`,
  );
  return [line.trimEnd(), ...details];
}

function failureLines(failed: readonly FailedAttempt[]): string[] {
  if (failed.length === 0) return [];
  const width = Math.max(...failed.map(({ hostName }) => hostName.length)) + 2;
  const line = ({ attempt, hostName, reason, message }: FailedAttempt): string =>
    `  ${String(attempt).padEnd(4)}${hostName.padEnd(width)}${reason}: ${message}`;
  return ['', 'Starts that failed:', ...failed.map(line)];
}

/** What a guest wrote must not steer the terminal it is shown on. */
const printable = (line: string): string => line.replaceAll(/[^\P{Cc}\t]/gu, '\uFFFD');
