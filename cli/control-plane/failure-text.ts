import { z } from 'zod';
import type { ProcessExit } from './owned-process.ts';

const EtcdLine = z.object({ level: z.string(), msg: z.string(), error: z.string().optional() });

/** One line that says how a program of the control plane ended and what it said of the cause. */
export function failureText(exit: ProcessExit): string {
  const how = exit.signal === null ? `ended with exit code ${exit.code}` : `was ended by ${exit.signal}`;
  const cause = lastComplaint(exit.tail);
  return cause === undefined ? `${exit.name} ${how}` : `${exit.name} ${how}: ${cause}`;
}

/** The last error that etcd (JSON lines) or kube-apiserver (klog lines) wrote. */
export function lastComplaint(tail: string): string | undefined {
  for (const line of tail.split('\n').reverse()) {
    const complaint = line.startsWith('{') ? etcdComplaint(line) : klogComplaint(line);
    if (complaint !== undefined) return complaint.slice(0, 500);
  }
  return undefined;
}

function etcdComplaint(line: string): string | undefined {
  try {
    const { level, msg, error } = EtcdLine.parse(JSON.parse(line));
    if (!['error', 'fatal', 'panic'].includes(level) && error === undefined) return undefined;
    return error === undefined ? msg : `${msg}: ${error}`;
  } catch {
    return undefined;
  }
}

function klogComplaint(line: string): string | undefined {
  const quoted = /^[EF]\d{4} .*? err="((?:[^"\\]|\\.)*)"/.exec(line);
  if (quoted?.[1] !== undefined) return quoted[1].replaceAll('\\"', '"');
  const plain = /^(?:[EF]\d{4} \S+\s+\d+ \S+\] |[Ee]rror: |panic: |setpriv: )(.+)$/.exec(line);
  return plain?.[1];
}
