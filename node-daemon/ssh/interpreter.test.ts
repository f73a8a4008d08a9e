import { describe, expect, test } from 'vitest';
import { interpreterOf } from './interpreter.ts';

describe('interpreterOf', () => {
  test.each([
    ['echo no first line of that kind', { form: 'shell', argv: [] }],
    ['', { form: 'shell', argv: [] }],
    ['\n#!/bin/sh', { form: 'shell', argv: [] }],
    ['#!', { form: 'shell', argv: [] }],
    ['#!   \necho', { form: 'shell', argv: [] }],
    ['#!/bin/sh', { form: 'shell', argv: ['/bin/sh'] }],
    ['#! \t/bin/bash -eu  \necho', { form: 'shell', argv: ['/bin/bash', '-eu'] }],
    ['#!/bin/bash -e -u\necho', { form: 'shell', argv: ['/bin/bash', '-e -u'] }],
    ['#!/usr/bin/env bash\n', { form: 'shell', argv: ['/usr/bin/env', 'bash'] }],
    ['#!/usr/bin/env -S bash -e\n', { form: 'shell', argv: ['/usr/bin/env', '-S bash -e'] }],
    ['#!/usr/bin/env -S A=b zsh\n', { form: 'shell', argv: ['/usr/bin/env', '-S A=b zsh'] }],
    ['#!/bin/sh\r\necho', { form: 'foreign', argv: ['/bin/sh\r'] }],
    ['#!/usr/bin/python3\n', { form: 'foreign', argv: ['/usr/bin/python3'] }],
    ['#!/usr/bin/env python3\n', { form: 'foreign', argv: ['/usr/bin/env', 'python3'] }],
    ['#!/usr/bin/env\n', { form: 'foreign', argv: ['/usr/bin/env'] }],
    ['#!/usr/bin/fish\n', { form: 'foreign', argv: ['/usr/bin/fish'] }],
    ['#!/opt/node\n', { form: 'foreign', argv: ['/opt/node', '--preserve-symlinks-main'] }],
    [
      '#!/usr/bin/env -S node --no-warnings\n',
      { form: 'foreign', argv: ['/usr/bin/env', '-S node --no-warnings', '--preserve-symlinks-main'] },
    ],
  ])('%j', (script, expected) => {
    expect(interpreterOf(script)).toEqual(expected);
  });
});
