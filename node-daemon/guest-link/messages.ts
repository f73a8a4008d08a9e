import { isIP } from 'node:net';
import { z } from 'zod';
import type { GuestReport, GuestStatus } from '../../guest/protocol.ts';

// What comes out of a guest is not to be trusted: whatever ran in it may have written it. Unknown members are
// dropped, so that an agent may be newer than its host.

const Mac = z
  .string()
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i)
  .transform(normalizeMac);
const Ip = z
  .string()
  .max(45)
  .refine((text) => isIP(text) !== 0, 'not an IP address');
const State = z.enum(['NoRunner', 'Starting', 'Idle', 'Running', 'Finished']);
const Line = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^\P{Cc}*$/u);
const Counter = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

const Report = z.object({
  mac: Mac,
  ip: Ip,
  event: z.enum(['Ready', 'State']),
  state: State,
  runnerName: Line(128).optional(),
}) satisfies z.ZodType<GuestReport>;

const Status = z.object({
  version: Line(64),
  hostname: Line(253),
  uid: Line(64),
  attempt: Counter,
  bootId: Line(64),
  uptimeSeconds: z.number().min(0),
  mac: Mac,
  ip: Ip,
  state: State,
  runnerName: Line(128).optional(),
}) satisfies z.ZodType<GuestStatus>;

/** undefined where the text is no report. */
export function parseReport(text: string): GuestReport | undefined {
  return parse(Report, text);
}

/** undefined where the text is no status. */
export function parseStatus(text: string): GuestStatus | undefined {
  return parse(Status, text);
}

/** One spelling of each address. */
export function normalizeMac(mac: string): string {
  return mac.toLowerCase();
}

function parse<T>(schema: z.ZodType<T>, text: string): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const result = schema.safeParse(value);
  return result.success ? result.data : undefined;
}
