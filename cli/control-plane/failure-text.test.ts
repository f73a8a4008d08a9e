import { describe, expect, it } from 'vitest';
import { failureText, lastComplaint } from './failure-text.ts';

describe('lastComplaint', () => {
  it.each([
    {
      what: 'the error that ended kube-apiserver',
      tail: [
        'I1120 15:02:43.012314   18670 options.go:263] external host was not specified, using 127.77.0.1',
        'E1120 15:02:43.184632   18670 run.go:72] "command failed" err="failed to create listener: \\"x\\": address already in use"',
        'I1120 15:02:43.190000   18670 server.go:1] bye',
        '',
      ],
      complaint: 'failed to create listener: "x": address already in use',
    },
    {
      what: 'a klog error without err',
      tail: ['F1120 15:02:43.184632   18670 run.go:72] no more room'],
      complaint: 'no more room',
    },
    {
      what: "etcd's last error among its JSON lines",
      tail: [
        '{"level":"warn","msg":"failed to verify flags","error":"bad port"}',
        '{"level":"info","msg":"closing etcd server"}',
      ],
      complaint: 'failed to verify flags: bad port',
    },
    { what: 'an unknown flag', tail: ['Error: unknown flag: --nope'], complaint: 'unknown flag: --nope' },
    { what: 'a torn JSON line and nothing else', tail: ['{"level":"fatal","msg":"x'], complaint: undefined },
    { what: 'silence', tail: [''], complaint: undefined },
  ])('finds $what', ({ tail, complaint }) => {
    expect(lastComplaint(tail.join('\n'))).toBe(complaint);
  });
});

describe('failureText', () => {
  it('is one line of program, end and cause', () => {
    const exit = {
      name: 'etcd',
      code: 1,
      signal: null,
      tail: 'panic: no space left on device\n\ngoroutine 1',
    };
    expect(failureText(exit)).toBe('etcd ended with exit code 1: no space left on device');
    expect(failureText({ name: 'etcd', code: null, signal: 'SIGKILL', tail: '' })).toBe(
      'etcd was ended by SIGKILL',
    );
  });
});
