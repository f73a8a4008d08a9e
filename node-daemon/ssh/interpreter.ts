/** How a script is to be run in the guest. */
export interface Interpreter {
  /**
   * `shell`: reads its script as it goes and understands `exec 9<&-`, so that no child of it inherits the
   * script. `foreign`: anything else.
   */
  readonly form: 'shell' | 'foreign';
  /** Program and arguments, the script's path to be appended. Empty: bash where the guest has it, else sh. */
  readonly argv: readonly string[];
}

const SHELLS: ReadonlySet<string> = new Set(['sh', 'bash', 'dash', 'ash', 'ksh', 'mksh', 'zsh']);

/**
 * What the first line of a script asks for, as the kernel would read it: after `#!` a program and at most one
 * argument, which may contain blanks. A script without such a line is the shell's.
 */
export function interpreterOf(script: string): Interpreter {
  const line = /^#![ \t]*([^ \t\n]+)[ \t]*([^\n]*)/.exec(script);
  if (line === null) return { form: 'shell', argv: [] };
  const [, program = '', rest = ''] = line;
  const argument = rest.replace(/[ \t]+$/, '');
  const argv = argument === '' ? [program] : [program, argument];
  const name = programName(argv);
  if (SHELLS.has(name)) return { form: 'shell', argv };
  // The script is an open file without a name, which Node would look up.
  return { form: 'foreign', argv: name === 'node' ? [...argv, '--preserve-symlinks-main'] : argv };
}

/** Name of the program that will read the script, seen through `env`. */
function programName(argv: readonly string[]): string {
  const words = argv.join(' ').split(/[ \t]+/);
  const direct = baseName(words[0] ?? '');
  if (direct !== 'env') return direct;
  const command = words.slice(1).find((word) => !word.startsWith('-') && !word.includes('='));
  return baseName(command ?? '');
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
