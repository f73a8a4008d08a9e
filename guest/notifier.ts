import type { GuestReport } from './protocol.ts';

/** What the host was told last, and what it should know. */
export interface ReportNeeds {
  readonly readyDelivered: boolean;
  readonly delivered: Pick<GuestReport, 'state' | 'runnerName' | 'ip'> | undefined;
  readonly current: Omit<GuestReport, 'event'>;
}

/** The report that is due; undefined when the host knows everything. States that were passed over are never sent. */
export function dueReport({ readyDelivered, delivered, current }: ReportNeeds): GuestReport | undefined {
  if (!readyDelivered) return { ...current, event: 'Ready' };
  const known =
    delivered?.state === current.state &&
    delivered.runnerName === current.runnerName &&
    delivered.ip === current.ip;
  return known ? undefined : { ...current, event: 'State' };
}

const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;

/** Milliseconds to wait after that many failures in a row; `random` in [0, 1) keeps many guests from marching in step. */
export function retryDelayMs(failures: number, random: number): number {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures, 16), MAX_RETRY_MS);
  return longest / 2 + (longest / 2) * random;
}

/** Delivers reports until each is accepted, one at a time. */
export interface Notifier {
  /** Returns at once; only the newest report matters. */
  update(current: Omit<GuestReport, 'event'>): void;
}

/**
 * `send` resolves to whether the host accepted the report; it never rejects and is bounded in time. The host may
 * be away for as long as it likes: the report is tried again for ever.
 */
export function createNotifier(send: (report: GuestReport) => Promise<boolean>): Notifier {
  let needs: ReportNeeds | undefined;
  let running = false;
  const deliver = async (): Promise<void> => {
    for (let failures = 0; ; ) {
      const report = needs && dueReport(needs);
      if (needs === undefined || report === undefined) return;
      if (await send(report)) {
        failures = 0;
        needs = { ...needs, readyDelivered: true, delivered: report };
      } else {
        const delay = retryDelayMs(failures++, Math.random());
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  };
  return {
    update: (current) => {
      needs = { readyDelivered: needs?.readyDelivered ?? false, delivered: needs?.delivered, current };
      if (running) return;
      running = true;
      deliver().finally(() => {
        running = false;
      });
    },
  };
}
