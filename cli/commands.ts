import type { Command } from 'commander';

/**
 * Each is loaded when it is asked for: a daemon that runs for months holds nothing of what builds templates or
 * tells stories, and `--version` starts fast.
 */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  up: async () => (await import('./commands/up.ts')).upCommand(),
  down: async () => (await import('./commands/down.ts')).downCommand(),
  demo: async () => (await import('./commands/demo.ts')).demoCommand(),
  controller: async () => (await import('./commands/controller.ts')).controllerCommand(),
  'node-daemon': async () => (await import('./commands/node-daemon.ts')).nodeDaemonCommand(),
  template: async () => (await import('./commands/template.ts')).templateCommand(),
  why: async () => (await import('./commands/why.ts')).whyCommand(),
  cordon: async () => (await import('./commands/cordon.ts')).cordonCommand(),
  drain: async () => (await import('./commands/drain.ts')).drainCommand(),
  uncordon: async () => (await import('./commands/cordon.ts')).uncordonCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  version: async () => (await import('./commands/version.ts')).versionCommand(),
};

/** The command that the arguments name; all, in the order of the help, where they name none. */
export async function commandsFor(args: readonly string[]): Promise<Command[]> {
  const [name = ''] = args;
  const named = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  const loads = named === undefined ? Object.values(COMMANDS) : [named];
  return await Promise.all(loads.map((load) => load()));
}
