import { quantityBytes } from '../../../crds/scalars.ts';
import { jsonEqual } from '../../../kube/merge-patch.ts';

/** What rules see: JSON values, optionals, and the values that functions make. */
type Value = unknown;
type Scope = ReadonlyMap<string, Value>;
type Expression = (scope: Scope) => Value;

/** `oldSelf` of a rule with `optionalOldSelf`. */
export class Optional {
  readonly value: Value;
  constructor(value: Value) {
    this.value = value;
  }
}

const TOKEN =
  /\s*(?:(r'[^']*'|r"[^"]*"|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|(==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()[\]]))/y;

/**
 * Compiles a rule of the Common Expression Language, as far as Kubernetes' validation rules of this project go.
 * Throws on what it does not know: then it has to be taught.
 */
export function compileCel(rule: string): (variables: Readonly<Record<string, Value>>) => boolean {
  const expression = new Parser(tokensOf(rule), rule).parse();
  return (variables) => expression(new Map(Object.entries(variables))) === true;
}

interface Token {
  readonly kind: 'string' | 'number' | 'name' | 'sign' | 'end';
  readonly text: string;
}

function tokensOf(rule: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  const text = rule.trimEnd();
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`CEL: cannot read "${text.slice(at)}"`);
    const [, string, number, name, sign = ''] = match;
    if (string !== undefined) tokens.push({ kind: 'string', text: unquoted(string) });
    else if (number !== undefined) tokens.push({ kind: 'number', text: number });
    else if (name !== undefined) tokens.push({ kind: 'name', text: name });
    else tokens.push({ kind: 'sign', text: sign });
  }
  return [...tokens, { kind: 'end', text: '' }];
}

function unquoted(literal: string): string {
  if (literal.startsWith('r')) return literal.slice(2, -1);
  return literal.slice(1, -1).replaceAll(/\\(.)/g, (_, char: string) => ESCAPES[char] ?? char);
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };

/** Loosest first. */
const LEVELS: readonly (readonly string[])[] = [
  ['||'],
  ['&&'],
  ['==', '!=', '<', '<=', '>', '>=', 'in'],
  ['+', '-'],
  ['*', '/', '%'],
];

class Parser {
  readonly #tokens: readonly Token[];
  readonly #rule: string;
  #at = 0;

  constructor(tokens: readonly Token[], rule: string) {
    this.#tokens = tokens;
    this.#rule = rule;
  }

  parse(): Expression {
    const expression = this.#ternary();
    if (this.#peek().kind !== 'end') throw this.#unexpected();
    return expression;
  }

  #ternary(): Expression {
    const condition = this.#binary(0);
    if (!this.#accept('?')) return condition;
    const yes = this.#ternary();
    this.#expect(':');
    const no = this.#ternary();
    return (scope) => (condition(scope) === true ? yes(scope) : no(scope));
  }

  #binary(level: number): Expression {
    const signs = LEVELS[level];
    if (signs === undefined) return this.#unary();
    let left = this.#binary(level + 1);
    for (let sign = this.#acceptOne(signs); sign !== undefined; sign = this.#acceptOne(signs)) {
      left = combine(sign, left, this.#binary(level + 1));
    }
    return left;
  }

  #unary(): Expression {
    if (this.#accept('!')) {
      const operand = this.#unary();
      return (scope) => operand(scope) !== true;
    }
    if (this.#accept('-')) {
      const operand = this.#unary();
      return (scope) => -Number(operand(scope));
    }
    return this.#member(this.#primary());
  }

  #member(start: Expression): Expression {
    let target = start;
    for (;;) {
      if (this.#accept('.')) {
        const name = this.#name();
        target = this.#accept('(') ? this.#method(target, name) : field(target, name);
      } else if (this.#accept('[')) {
        const index = this.#ternary();
        this.#expect(']');
        const of = target;
        target = (scope) => fieldOf(of(scope), String(index(scope)));
      } else return target;
    }
  }

  #method(target: Expression, name: string): Expression {
    const macro = MACROS[name];
    if (macro !== undefined && this.#tokens[this.#at + 1]?.text === ',') {
      const variable = this.#name();
      this.#expect(',');
      const body = this.#ternary();
      this.#expect(')');
      return (scope) => macro(itemsOf(target(scope)), (item) => body(new Map(scope).set(variable, item)));
    }
    const args = this.#arguments();
    const method = METHODS[name];
    if (method === undefined) throw new Error(`CEL: no method ${name} in: ${this.#rule}`);
    return (scope) => method(target(scope), ...args.map((arg) => arg(scope)));
  }

  #primary(): Expression {
    const token = this.#tokens[this.#at];
    this.#at += 1;
    if (token?.kind === 'string') return () => token.text;
    if (token?.kind === 'number') return () => Number(token.text);
    if (token?.kind === 'name') return this.#named(token.text);
    if (token?.text === '(') {
      const inner = this.#ternary();
      this.#expect(')');
      return inner;
    }
    if (token?.text === '[') {
      const items = this.#arguments(']');
      return (scope) => items.map((item) => item(scope));
    }
    this.#at -= 1;
    throw this.#unexpected();
  }

  #named(name: string): Expression {
    if (name === 'true' || name === 'false') return () => name === 'true';
    if (name === 'null') return () => null;
    if (!this.#accept('(')) {
      return (scope) => {
        if (!scope.has(name)) throw new Error(`CEL: no variable ${name}`);
        return scope.get(name);
      };
    }
    if (name === 'has') return this.#has();
    const args = this.#arguments();
    const called = FUNCTIONS[name];
    if (called === undefined) throw new Error(`CEL: no function ${name} in: ${this.#rule}`);
    return (scope) => called(...args.map((arg) => arg(scope)));
  }

  /** `has(a.b.c)`: whether the last member is there. */
  #has(): Expression {
    let target: Expression = this.#primary();
    let last = '';
    while (this.#accept('.')) {
      if (last !== '') target = field(target, last);
      last = this.#name();
    }
    this.#expect(')');
    const of = target;
    return (scope) => {
      const object = of(scope);
      return typeof object === 'object' && object !== null && Object.hasOwn(object, last);
    };
  }

  #arguments(end = ')'): Expression[] {
    const args: Expression[] = [];
    if (this.#accept(end)) return args;
    do args.push(this.#ternary());
    while (this.#accept(','));
    this.#expect(end);
    return args;
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '' };
  }

  #accept(text: string): boolean {
    return this.#acceptOne([text]) !== undefined;
  }

  #acceptOne(texts: readonly string[]): string | undefined {
    const { kind, text } = this.#peek();
    if (kind === 'string' || !texts.includes(text)) return undefined;
    this.#at += 1;
    return text;
  }

  #expect(text: string): void {
    if (!this.#accept(text)) throw this.#unexpected();
  }

  #name(): string {
    const { kind, text } = this.#peek();
    if (kind !== 'name') throw this.#unexpected();
    this.#at += 1;
    return text;
  }

  #unexpected(): Error {
    return new Error(`CEL: unexpected "${this.#peek().text}" in: ${this.#rule}`);
  }
}

function combine(sign: string, left: Expression, right: Expression): Expression {
  if (sign === '&&' || sign === '||') return (scope) => logical(sign === '||', left, right, scope);
  const apply = OPERATORS[sign];
  if (apply === undefined) throw new Error(`CEL: no operator ${sign}`);
  return (scope) => apply(left(scope), right(scope));
}

/** Either side may decide alone, whatever error the other has. */
function logical(decisive: boolean, left: Expression, right: Expression, scope: Scope): boolean {
  let failure: unknown;
  try {
    if ((left(scope) === true) === decisive) return decisive;
  } catch (error) {
    failure = error;
  }
  if ((right(scope) === true) === decisive) return decisive;
  if (failure !== undefined) throw failure;
  return !decisive;
}

const OPERATORS: Readonly<Record<string, (a: Value, b: Value) => Value>> = {
  '==': (a, b) => jsonEqual(a, b),
  '!=': (a, b) => !jsonEqual(a, b),
  '<': (a, b) => orderOf(a, b) < 0,
  '<=': (a, b) => orderOf(a, b) <= 0,
  '>': (a, b) => orderOf(a, b) > 0,
  '>=': (a, b) => orderOf(a, b) >= 0,
  '+': (a, b) => (typeof a === 'string' ? a + String(b) : Number(a) + Number(b)),
  '-': (a, b) => Number(a) - Number(b),
  '*': (a, b) => Number(a) * Number(b),
  '/': (a, b) => Math.trunc(Number(a) / Number(b)),
  '%': (a, b) => Number(a) % Number(b),
  in: (a, b) => itemsOf(b).some((item) => jsonEqual(a, item)),
};

function orderOf(a: Value, b: Value): number {
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0;
  return Number(a) - Number(b);
}

const field =
  (target: Expression, name: string): Expression =>
  (scope) =>
    fieldOf(target(scope), name);

function fieldOf(object: Value, name: string): Value {
  if (typeof object === 'object' && object !== null && Object.hasOwn(object, name)) {
    return (object as Readonly<Record<string, Value>>)[name];
  }
  throw new Error(`CEL: no such key: ${name}`);
}

/** Of a map, its keys. */
function itemsOf(collection: Value): Value[] {
  if (Array.isArray(collection)) return collection;
  if (typeof collection === 'object' && collection !== null) return Object.keys(collection);
  throw new Error('CEL: not a list');
}

type Body = (item: Value) => Value;

const MACROS: Readonly<Record<string, (items: Value[], body: Body) => Value>> = {
  all: (items, body) => items.every((item) => body(item) === true),
  exists: (items, body) => items.some((item) => body(item) === true),
  exists_one: (items, body) => items.filter((item) => body(item) === true).length === 1,
  filter: (items, body) => items.filter((item) => body(item) === true),
  map: (items, body) => items.map(body),
};

const sizeOf = (value: Value): number =>
  typeof value === 'string' ? [...value].length : itemsOf(value).length;

const patterns = new Map<string, RegExp>();

function matches(text: Value, pattern: Value): boolean {
  const source = String(pattern);
  const known = patterns.get(source) ?? new RegExp(source, 'u');
  patterns.set(source, known);
  return known.test(String(text));
}

const METHODS: Readonly<Record<string, (target: Value, ...args: Value[]) => Value>> = {
  size: (target) => sizeOf(target),
  matches,
  startsWith: (target, prefix) => String(target).startsWith(String(prefix)),
  endsWith: (target, suffix) => String(target).endsWith(String(suffix)),
  contains: (target, part) => String(target).includes(String(part)),
  compareTo: (target, other) => Math.sign(Number(target) - Number(other)),
  hasValue: (target) => target instanceof Optional && target.value !== undefined,
  value: (target) => (target instanceof Optional ? target.value : undefined),
  orValue: (target, other) => (target instanceof Optional ? (target.value ?? other) : other),
};

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** In milliseconds, so that durations compare as numbers. */
function duration(text: Value): number {
  let total = 0;
  for (const [, amount, unit] of String(text).matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(amount) * (UNITS_MS[unit ?? ''] ?? 0);
  }
  return total;
}

const FUNCTIONS: Readonly<Record<string, (...args: Value[]) => Value>> = {
  size: (value) => sizeOf(value),
  quantity: (text) => quantityBytes(String(text)),
  duration,
  int: (value) => Math.trunc(Number(value)),
  string: (value) => String(value),
};
