import { describe, expect, test } from 'vitest';
import { HostSpec, HostStatus } from '../../crds/host.ts';
import { Binding, RunnerSpec, RunnerStatus } from '../../crds/runner.ts';
import { RunnerClassSpec } from '../../crds/runner-class.ts';
import { TemplateSpec, TemplateStatus } from '../../crds/template.ts';
import { linuxHost, macHost } from './host.ts';
import { withOverrides } from './overrides.ts';
import { binding, boundRunner, runner } from './runner.ts';
import { defaultRunnerClass, runnerClass } from './runner-class.ts';
import { stored } from './stored.ts';
import { macTemplate, template } from './template.ts';

test.each([
  ['runner', RunnerSpec, RunnerStatus, runner()],
  ['boundRunner', RunnerSpec, RunnerStatus, boundRunner(linuxHost())],
  ['template', TemplateSpec, TemplateStatus, template()],
  ['macTemplate', TemplateSpec, TemplateStatus, macTemplate()],
  ['linuxHost', HostSpec, HostStatus, linuxHost()],
  ['macHost', HostSpec, HostStatus, macHost()],
])('%s() is valid and has its defaults', (_, spec, status, object) => {
  expect(spec.parse(object.spec)).toEqual(object.spec);
  expect(status.parse(object.status)).toEqual(object.status);
});

test.each([
  ['runnerClass', runnerClass()],
  ['defaultRunnerClass', defaultRunnerClass()],
])('%s() is valid', (_, object) => {
  expect(RunnerClassSpec.parse(object.spec)).toEqual(object.spec);
});

test('the objects fit together', () => {
  const host = stored(linuxHost());
  const bound = boundRunner(host);
  expect(bound.spec.templateName).toBe(template().metadata.name);
  expect(bound.spec.className).toBe(runnerClass().metadata.name);
  expect(host.status?.templates?.map(({ name }) => name)).toContain(template().spec.source.bundle.name);
  expect(macHost().status?.templates?.map(({ name }) => name)).toContain(
    macTemplate().spec.source.bundle.name,
  );
  expect(bound.spec.binding?.hostUID).toBe(host.metadata.uid);
  expect(Binding.parse(binding(host)).resources).toEqual(runnerClass().spec);
});

test('two Runners have different names, and each stored object a UID of its own', () => {
  expect(runner().metadata.name).not.toBe(runner().metadata.name);
  const one = runner();
  expect(stored(one).metadata.uid).not.toBe(stored(one).metadata.uid);
});

test('a later attempt is overridden in one place and shows in the finalizer', () => {
  const bound = boundRunner(linuxHost({ metadata: { name: 'h' } }), { spec: { binding: { attempt: 3 } } });
  expect(bound.spec.binding?.attempt).toBe(3);
  expect(bound.metadata.finalizers).toEqual(['vm.shoesvz.dev/h.3']);
});

describe('withOverrides', () => {
  const base = { a: { b: 1, c: [1, 2] }, d: 'x' };

  test.each([
    [undefined, base],
    [{}, base],
    [{ a: { b: 2 } }, { a: { b: 2, c: [1, 2] }, d: 'x' }],
    [{ a: { c: [] } }, { a: { b: 1, c: [] }, d: 'x' }],
    [{ a: undefined }, { d: 'x' }],
  ])('with %j', (overrides, expected) => {
    expect(withOverrides(base, overrides)).toEqual(expected);
  });

  test('leaves the base alone', () => {
    withOverrides(base, { a: { b: 5 } });
    expect(base.a.b).toBe(1);
  });
});
