import { describe, expect, test } from 'vitest';
import { finalizerName } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import { linuxHost, macHost } from '../../test/builders/host.ts';
import type { Overrides } from '../../test/builders/overrides.ts';
import { boundRunner, runner } from '../../test/builders/runner.ts';
import { stored } from '../../test/builders/stored.ts';
import { LINUX_BUNDLE, MAC_BUNDLE } from '../../test/builders/template.ts';
import { hostFacts } from './facts.ts';
import { claimsOf, Ledger } from './ledger.ts';

const GiB = 2 ** 30;
const host = linuxHost({ metadata: { name: 'host.example', uid: 'uid-host' } });
const facts = hostFacts(host, 'heard');

const bound = (overrides?: Overrides<Runner>): Runner => boundRunner(host, overrides);

describe('slots that a Runner holds', () => {
  const cases: [string, number, Runner][] = [
    ['none before it is bound', 0, runner()],
    ['one once bound, however far it is', 1, bound()],
    ['one while it is torn down', 1, bound({ status: { phase: 'TearingDown' } })],
    [
      'one while it is deleted and its finalizer stands',
      1,
      bound({ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' }, status: { phase: 'Finished' } }),
    ],
    ['one when bound and its finalizer is lost', 1, bound({ metadata: { finalizers: [] } })],
    [
      'none when it is over and purged',
      0,
      bound({ metadata: { finalizers: [] }, status: { phase: 'Error' } }),
    ],
    [
      'none for finalizers of others',
      0,
      runner({ metadata: { finalizers: ['example.com/vm', 'vm.shoesvz.dev/x'] } }),
    ],
    [
      'one for each attempt that was not seen gone',
      2,
      bound({
        metadata: { finalizers: [finalizerName('other', 1), finalizerName('host.example', 2)] },
        spec: { binding: { attempt: 2 } },
      }),
    ],
  ];
  test.each(cases)('%s', (_name, slots, object) => {
    expect(claimsOf(object)).toHaveLength(slots);
  });

  test('of a failed attempt: one until its finalizer is gone', () => {
    const attempts = [
      {
        attempt: 1,
        hostName: 'host.example',
        reason: 'CloneFailed',
        message: '',
        finishedAt: '2026-01-01T00:00:00Z',
      },
    ];
    expect(claimsOf(bound({ status: { attempts } }))).toHaveLength(1);
    expect(claimsOf(bound({ status: { attempts }, metadata: { finalizers: [] } }))).toEqual([]);
  });

  test('of an earlier attempt are what was recorded when that one was bound', () => {
    const resources = { cpu: 9, memory: '9Gi', disk: '90Gi' };
    const earlier = [{ hostName: 'other', attempt: 1, resources, templateDigest: MAC_BUNDLE.digest }];
    const finalizers = [finalizerName('other', 1), finalizerName('host.example', 2)];
    const again = bound({ metadata: { finalizers }, spec: { binding: { attempt: 2, earlier } } });
    expect(claimsOf(again)).toEqual([
      {
        hostName: 'other',
        attempt: 1,
        amounts: { cpu: 9, memoryBytes: 9 * GiB, diskBytes: 90 * GiB },
        templateDigest: MAC_BUNDLE.digest,
      },
      { ...claimsOf(bound())[0], attempt: 2 },
    ]);
    expect(
      claimsOf({ ...again, metadata: { ...again.metadata, finalizers: finalizers.slice(1) } }),
    ).toHaveLength(1);
  });

  test('are of the host that the finalizer names, by the resources recorded at binding', () => {
    expect(claimsOf(bound())).toEqual([
      {
        hostName: 'host.example',
        attempt: 1,
        amounts: { cpu: 2, memoryBytes: 4 * GiB, diskBytes: 20 * GiB },
        templateDigest: LINUX_BUNDLE.digest,
      },
    ]);
  });
});

describe('the ledger', () => {
  const claim = {
    hostName: 'host.example',
    attempt: 1,
    amounts: { cpu: 2, memoryBytes: 4 * GiB, diskBytes: 20 * GiB },
    templateDigest: LINUX_BUNDLE.digest,
  };

  test('counts what is assumed until an object shows it, and then once', () => {
    const ledger = new Ledger();
    ledger.assume('u1', claim);
    expect(ledger.usage(facts)).toMatchObject({ runners: 1, cpu: 2 });
    ledger.observe('u1', runner());
    expect(ledger.usage(facts), 'an event from before the binding').toMatchObject({ runners: 1, cpu: 2 });
    expect(ledger.isAssumed('u1')).toBe(true);
    ledger.observe('u1', bound());
    expect(ledger.usage(facts)).toMatchObject({ runners: 1, cpu: 2 });
    expect(ledger.isAssumed('u1')).toBe(false);
  });

  test('frees a slot when the finalizer is gone, and says where', () => {
    const ledger = new Ledger();
    ledger.observe('u1', bound());
    ledger.observe('u1', bound({ status: { phase: 'Finished' } }));
    expect(ledger.usage(facts).runners).toBe(1);
    const freed = ledger.observe(
      'u1',
      bound({ metadata: { finalizers: [] }, status: { phase: 'Finished' } }),
    );
    expect(freed).toEqual(['host.example']);
    expect(ledger.usage(facts)).toMatchObject({ runners: 0, cpu: 0, memoryBytes: 0, diskBytes: 0 });
    expect([...ledger.holders('host.example')]).toEqual([]);
  });

  test('frees a slot that was assumed in vain, or whose Runner vanished', () => {
    const ledger = new Ledger();
    ledger.assume('u1', claim);
    expect(ledger.release('u1')).toEqual(['host.example']);
    ledger.assume('u2', claim);
    expect(ledger.forget('u2')).toEqual(['host.example']);
    expect(ledger.usage(facts).runners).toBe(0);
  });

  test('counts macOS guests by what their bundle holds, and unknown ones on a Mac as macOS', () => {
    const mac = macHost({ metadata: { uid: 'uid-mac' } });
    mac.status?.templates?.push({ ...LINUX_BUNDLE, os: 'linux', arch: 'arm64' });
    const ledger = new Ledger();
    const guests = [MAC_BUNDLE.digest, LINUX_BUNDLE.digest, `sha256:${'f'.repeat(64)}`];
    for (const [index, templateDigest] of guests.entries()) {
      ledger.observe(`u${index}`, boundRunner(mac, { spec: { binding: { templateDigest } } }));
    }
    expect(ledger.usage(hostFacts(stored(mac), 'heard'))).toMatchObject({ runners: 3, macOSGuests: 2 });
  });
});
