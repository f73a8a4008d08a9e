import { z } from 'zod';

/** A DNS-1123 subdomain, as object names are. */
export const DnsName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);

/** A duration in Go's notation without fractions: 90s, 5m, 1h30m. */
export const Duration = z
  .string()
  .max(32)
  .regex(/^([0-9]+(ms|s|m|h))+$/);

/** A Kubernetes quantity of bytes: 512Mi, 8Gi, 20G, 1073741824. */
export const Quantity = z
  .string()
  .max(32)
  .regex(/^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$/);

/** An integer that fits 32 bits. */
export const Int32 = z.number().int().min(-2147483648).max(2147483647);

const UNITS_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** Milliseconds of a {@link Duration}. Throws on text that the schema would refuse. */
export function durationMs(text: string): number {
  if (!Duration.safeParse(text).success) throw new Error(`not a duration: ${text}`);
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g)) {
    total += Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS];
  }
  return total;
}

const UNITS_BYTES: Record<string, number> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** Bytes of a {@link Quantity}, rounded up. Throws on text that the schema would refuse. */
export function quantityBytes(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?$/.exec(text);
  if (match === null) throw new Error(`not a quantity: ${text}`);
  return Math.ceil(Number(match[1]) * (UNITS_BYTES[match[2] ?? ''] ?? 1));
}

/** Bytes as the largest binary quantity that is exact: 2147483648 → 2Gi. */
export function bytesQuantity(bytes: number): string {
  for (const unit of ['Ti', 'Gi', 'Mi', 'Ki'] as const) {
    const size = UNITS_BYTES[unit] ?? 1;
    if (bytes > 0 && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}
