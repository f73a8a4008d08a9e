import { z } from 'zod';
import { celRules, matches } from './validation.ts';

/** RFC 1123 label. */
export const HOST_NAME_PATTERN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const DURATION = /^([0-9]{1,6}(ms|s|m|h))+$/;
const QUANTITY = /^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$/;

/** Longest {@link Duration}: seven days. Below what a Node timer can count (24.8 days). */
const LONGEST_DURATION_MS = 7 * 24 * 3_600_000;
const SMALLEST_SIZE = 16 * 2 ** 20;
const LARGEST_SIZE = 2 ** 50;

/** Text held to a pattern, refused by zod and by the API server with the same words. */
function patterned(pattern: RegExp, maxLength: number, message: string) {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .regex(pattern, message)
    .meta(celRules({ rule: matches('self', pattern), message }));
}

/** A DNS-1123 subdomain, as object names are. */
export const DnsName = patterned(
  DNS_SUBDOMAIN,
  253,
  'must be a name of lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit, e.g. linux-small',
);

/** A DNS-1123 label: a host name without a domain. */
export const HostName = patterned(
  HOST_NAME_PATTERN,
  63,
  'must be a host name of at most 63 lower-case letters, digits and "-", beginning and ending with a letter or digit, e.g. runner-1',
);

/**
 * Longest name of a host: with ".<attempt>" it is the name part of a finalizer, which Kubernetes limits to
 * 63 characters.
 */
export const HOST_OBJECT_NAME_MAX = 52;

/** Name of a MacHost or LinuxHost. */
export const HostObjectName = patterned(
  DNS_SUBDOMAIN,
  HOST_OBJECT_NAME_MAX,
  'must be the name of a host: lower-case letters, digits, "-" and ".", at most 52, e.g. mac-mini-1',
);

/** Name of a Unix user. Never begins like an option, never needs quoting. */
export const UserName = patterned(
  /^[A-Za-z_][-A-Za-z0-9_.]*$/,
  64,
  'must be the name of a user in the guest: letters, digits, "-", "_" and ".", beginning with a letter or "_", e.g. runner',
);

/** Key of an entry in a Secret. */
export const SecretKey = patterned(
  /^[-._A-Za-z0-9]+$/,
  253,
  'must be a key of a Secret: letters, digits, "-", "_" and ".", e.g. setup.sh',
);

/** One entry of a Secret. */
export const SecretKeyRef = z
  .object({
    name: DnsName.describe('Name of the Secret.'),
    key: SecretKey.describe('Key in the Secret whose value is meant.'),
  })
  .meta({ 'x-kubernetes-map-type': 'atomic' });

const LABEL_KEY =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const SELECTOR_MAX = 16;

const LABEL_VALUE_MESSAGE =
  'must be the value of a label: at most 63 letters, digits, "-", "_" and ".", beginning and ending with a letter or digit';

/** Labels that an object must carry, all of them. */
export const LabelSelector = z
  .record(
    z.string().max(317).regex(LABEL_KEY),
    z
      .string()
      .max(63)
      .regex(LABEL_VALUE, LABEL_VALUE_MESSAGE)
      .meta(celRules({ rule: matches('self', LABEL_VALUE), message: LABEL_VALUE_MESSAGE })),
  )
  .refine((labels) => Object.keys(labels).length <= SELECTOR_MAX, `must have at most ${SELECTOR_MAX} labels`)
  .meta({
    maxProperties: SELECTOR_MAX,
    'x-kubernetes-map-type': 'atomic',
    ...celRules({
      rule: `self.all(key, key.size() <= 317 && ${matches('key', LABEL_KEY)})`,
      message:
        'must have keys that are names of labels: letters, digits, "-", "_" and ".", with or without a "prefix/", e.g. example.com/pool',
    }),
  });

/** Digest of a template bundle. */
export const Digest = patterned(
  /^sha256:[0-9a-f]{64}$/,
  71,
  'must be "sha256:" and 64 hexadecimal digits in lower case, as `shoes-vz template list` shows it',
);

const DURATION_MESSAGE = 'must be a duration longer than 0s and no longer than 168h, e.g. 90s, 5m or 1h30m';

/** A duration in Go's notation without fractions, longer than nothing: 90s, 5m, 1h30m. */
export const Duration = z
  .string()
  .min(1)
  .max(20)
  .regex(DURATION, DURATION_MESSAGE)
  .refine((text) => sumMs(text) > 0 && sumMs(text) <= LONGEST_DURATION_MS, DURATION_MESSAGE)
  .meta(
    celRules({
      rule: `${matches('self', DURATION)} && duration(self) > duration('0s') && duration(self) <= duration('168h')`,
      message: DURATION_MESSAGE,
    }),
  );

/** A Kubernetes quantity of bytes, nothing included: 512Mi, 8Gi, 20G, 1073741824, 0. */
export const Quantity = patterned(
  QUANTITY,
  32,
  'must be a number of bytes, e.g. 512Mi, 8Gi, 20G or 1073741824',
);

const SIZE_MESSAGE =
  'must be a size from 16Mi to 1024Ti, e.g. 512Mi, 8Gi or 20G; a number without a unit counts bytes';

/** A {@link Quantity} that a guest can be given; the bounds catch the forgotten unit. */
export const Size = z
  .string()
  .min(1)
  .max(32)
  .regex(QUANTITY, SIZE_MESSAGE)
  .refine((text) => bytesOf(text) >= SMALLEST_SIZE && bytesOf(text) <= LARGEST_SIZE, SIZE_MESSAGE)
  .meta(
    celRules({
      rule: `${matches('self', QUANTITY)} && quantity(self).compareTo(quantity('16Mi')) >= 0 && quantity(self).compareTo(quantity('1024Ti')) <= 0`,
      message: SIZE_MESSAGE,
    }),
  );

const RESERVE_MESSAGE =
  'must be 0 or a size from 16Mi to 1024Ti, e.g. 2Gi; a number without a unit counts bytes';

/** A {@link Size}, or nothing: what is held back of something. */
export const Reserve = z
  .string()
  .min(1)
  .max(32)
  .regex(QUANTITY, RESERVE_MESSAGE)
  .refine(
    (text) => bytesOf(text) === 0 || (bytesOf(text) >= SMALLEST_SIZE && bytesOf(text) <= LARGEST_SIZE),
    RESERVE_MESSAGE,
  )
  .meta(
    celRules({
      rule: `${matches('self', QUANTITY)} && (quantity(self).compareTo(quantity('0')) == 0 || (quantity(self).compareTo(quantity('16Mi')) >= 0 && quantity(self).compareTo(quantity('1024Ti')) <= 0))`,
      message: RESERVE_MESSAGE,
    }),
  );

/** An integer that fits 32 bits. */
export const Int32 = z.number().int().min(-2147483648).max(2147483647);

/** A count: an {@link Int32} that is never negative. */
export const Count = Int32.min(0);

/** RFC 3339, as Kubernetes writes times. */
export const Timestamp = z.string().max(40).meta({ format: 'date-time' });

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function sumMs(text: string): number {
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g)) {
    total += Number(amount) * (UNITS_MS[unit ?? ''] ?? 0);
  }
  return total;
}

/** Milliseconds of a {@link Duration}. Throws on text that the schema would refuse. */
export function durationMs(text: string): number {
  if (!Duration.safeParse(text).success) throw new Error(`not a duration: ${text}`);
  return sumMs(text);
}

const UNITS_BYTES: Readonly<Record<string, number>> = {
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

function bytesOf(text: string): number {
  const [, amount, unit] = /^([0-9.]+)([a-zA-Z]*)$/.exec(text) ?? [];
  return Math.ceil(Number(amount) * (UNITS_BYTES[unit ?? ''] ?? Number.NaN));
}

/** Bytes of a {@link Quantity}, rounded up. Throws on text that the schema would refuse. */
export function quantityBytes(text: string): number {
  if (!Quantity.safeParse(text).success) throw new Error(`not a quantity: ${text}`);
  return bytesOf(text);
}

/** Bytes as the largest binary quantity that is exact: 2147483648 → 2Gi. */
export function bytesQuantity(bytes: number): string {
  for (const unit of ['Ti', 'Gi', 'Mi', 'Ki'] as const) {
    const size = UNITS_BYTES[unit] ?? 1;
    if (bytes > 0 && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}
