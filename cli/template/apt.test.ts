import { expect, test } from 'vitest';
import { parsePrintUris } from './apt.ts';

const HASH = 'ab'.repeat(32);

test('reads what apt-get --print-uris says of packages', () => {
  const text = [
    `'http://mirror/pool/g/glibc/libc6_2.36-9%2bdeb12u14_amd64.deb' libc6_2.36-9+deb12u14_amd64.deb 2759320 SHA256:${HASH}`,
    `'http://mirror/pool/d/debianutils_5.7_amd64.deb' libattr1_1%3a2.5.1-4_amd64.deb 22164 MD5Sum:00`,
    `'http://mirror/InRelease' mirror_InRelease 0 `,
    'W: something else',
    '',
  ].join('\n');
  expect(parsePrintUris(text)).toEqual([
    {
      name: 'libc6',
      version: '2.36-9+deb12u14',
      file: 'libc6_2.36-9+deb12u14_amd64.deb',
      size: 2759320,
      sha256: HASH,
    },
    {
      name: 'libattr1',
      version: '1:2.5.1-4',
      file: 'libattr1_1%3a2.5.1-4_amd64.deb',
      size: 22164,
      sha256: '',
    },
  ]);
});
