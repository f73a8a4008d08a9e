import { z } from 'zod';
import type { GuestReport, GuestStatus } from '../../guest/protocol.ts';

/** What comes from inside a VM is checked as any stranger's words are. */

const state = z.enum(['NoRunner', 'Starting', 'Idle', 'Running', 'Finished']);
const ip = z.union([z.ipv4(), z.ipv6()]);
const mac = z.string().regex(/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/);
const runnerName = z.string().max(256).optional();

const Report = z.object({ mac, ip, event: z.enum(['Ready', 'State']), state, runnerName });

const Status = z.object({
  version: z.string().max(64),
  hostname: z.string().max(253),
  uid: z.string().max(64),
  attempt: z.int(),
  bootId: z.string().max(64),
  uptimeSeconds: z.number(),
  mac,
  ip,
  state,
  runnerName,
});

/** undefined for anything that is no report. */
export const parseReport = (body: string): GuestReport | undefined => parse(Report, body);

/** undefined for anything that is no status. */
export const parseStatus = (body: string): GuestStatus | undefined => parse(Status, body);

function parse<T>(schema: z.ZodType<T>, body: string): T | undefined {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return undefined;
  }
  return schema.safeParse(json).data;
}
