import { describe, expect, it } from 'vitest';
import { isNewEnough } from './binaries-build.ts';
import { chooseArchive } from './binaries-download.ts';

const PLATFORM = { os: 'darwin', arch: 'arm64' };

function index(...versions: string[]): string {
  const lines = versions.flatMap((version) => [
    `  ${version}:`,
    `    envtest-${version}-darwin-arm64.tar.gz:`,
    `      hash: ${version}-hash`,
    `      selfLink: https://example.org/${version}.tar.gz`,
  ]);
  return ['releases:', ...lines].join('\n');
}

describe('chooseArchive', () => {
  it.each([
    { versions: ['v1.35.9', 'v1.36.2', 'v1.36.11'], chosen: 'v1.36.2', why: 'the pinned version' },
    { versions: ['v1.36.1', 'v1.36.0'], chosen: 'v1.36.1', why: 'the newest patch of its minor' },
    { versions: ['v1.36.9', 'v1.36.11'], chosen: 'v1.36.11', why: 'the newest by number, not by letter' },
    { versions: ['v1.36.0-rc.1', 'v1.36.0'], chosen: 'v1.36.0', why: 'no candidate for a release' },
    { versions: ['v1.35.0', 'v1.37.0'], chosen: undefined, why: 'no other minor' },
  ])('takes $why', ({ versions, chosen }) => {
    expect(chooseArchive(index(...versions), PLATFORM)?.kubernetes).toBe(chosen);
  });

  it('knows its platform', () => {
    const archive = chooseArchive(index('v1.36.2'), PLATFORM);
    expect(archive).toEqual({
      kubernetes: 'v1.36.2',
      url: 'https://example.org/v1.36.2.tar.gz',
      sha512: 'v1.36.2-hash',
    });
    expect(chooseArchive(index('v1.36.2'), { os: 'linux', arch: 'riscv64' })).toBeUndefined();
  });
});

describe('isNewEnough', () => {
  it.each([
    ['go1.26.0', true],
    ['go1.26.8', true],
    ['go1.30', true],
    ['go2.0', true],
    ['go1.27-devel_abc', true],
    ['go1.25.9', false],
    ['go1.9', false],
    ['devel +abc', false],
    ['', false],
  ])('%s: %s', (version, expected) => {
    expect(isNewEnough(version)).toBe(expected);
  });
});
