import { describe, expect, test } from 'vitest';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import { type Overrides, withOverrides } from '../../test/builders/overrides.ts';
import { defaultRunnerClass, runnerClass } from '../../test/builders/runner-class.ts';
import { LINUX_BUNDLE, template } from '../../test/builders/template.ts';
import { type Catalogue, defaultClasses, resolve } from './demand.ts';

const GiB = 2 ** 30;

const named = (name: string, overrides?: Overrides<RunnerClass>): RunnerClass =>
  withOverrides(runnerClass({ metadata: { name } }), overrides);

const annotated = (name: string, createdSeconds: number): RunnerClass =>
  defaultRunnerClass({
    metadata: { name, creationTimestamp: new Date(createdSeconds * 1000).toISOString() },
  });

const debian = (minimum?: Template['spec']['minimum']): Template =>
  template({ metadata: { name: 'debian' }, spec: { minimum } });

function catalogue(templates: Template[], classes: RunnerClass[]): Catalogue {
  return {
    template: (name) => templates.find(({ metadata }) => metadata.name === name),
    runnerClass: (name) => classes.find(({ metadata }) => metadata.name === name),
    defaultClass: () => defaultClasses(classes)[0],
  };
}

describe('what a Runner asks for', () => {
  test('is the class it names, the template it names and its selector', () => {
    const names = { templateName: 'debian', className: 'small', hostSelector: { zone: 'a' } };
    expect(resolve(names, catalogue([debian()], [named('small')]))).toEqual({
      templateName: 'debian',
      className: 'small',
      demand: {
        guest: { os: 'linux', arch: 'amd64' },
        bundle: LINUX_BUNDLE,
        amounts: { cpu: 2, memoryBytes: 4 * GiB, diskBytes: 20 * GiB },
        selector: { zone: 'a' },
      },
    });
  });

  test("is raised, part by part, to the template's minimum", () => {
    const demands = resolve(
      { templateName: 'debian', className: 'small' },
      catalogue([debian({ cpu: 4, memory: '1Gi', disk: '40Gi' })], [named('small')]),
    );
    expect(demands).toMatchObject({
      demand: { amounts: { cpu: 4, memoryBytes: 4 * GiB, diskBytes: 40 * GiB } },
    });
  });

  test('is the default class where none is named', () => {
    const classes = [named('small'), annotated('large', 1)];
    expect(resolve({ templateName: 'debian' }, catalogue([debian()], classes))).toMatchObject({
      className: 'large',
    });
  });
});

test.each([
  [
    'a template',
    { templateName: 'gone', className: 'small' },
    'TemplateNotFound',
    'Template gone does not exist',
  ],
  [
    'a class',
    { templateName: 'debian', className: 'gone' },
    'ClassNotFound',
    'RunnerClass gone does not exist',
  ],
  ['a default class', { templateName: 'debian' }, 'ClassNotFound', 'no className and no default class'],
])('%s that is missing is named', (_what, wish, reason, message) => {
  const unresolved = resolve(wish, catalogue([debian()], [named('small')]));
  expect(unresolved).toMatchObject({ reason, message: expect.stringContaining(message) });
});

test('of several default classes the newest counts, then the first by name', () => {
  const classes = [
    annotated('old', 1),
    annotated('b-new', 5),
    annotated('a-new', 5),
    named('newest-but-none', { metadata: { creationTimestamp: new Date(9000).toISOString() } }),
  ];
  expect(defaultClasses(classes).map(({ metadata }) => metadata.name)).toEqual(['a-new', 'b-new', 'old']);
});
