import { Command } from 'commander';
import { oneLine } from './failure.ts';

/** The command line of these commands. Parsing throws CommanderError for what is none of them, and for --help. */
export function shoesVz(commands: readonly Command[]): Command {
  const program = new Command('shoes-vz').description(
    'Virtual machines as Kubernetes resources: one clean macOS or Linux VM per CI job.',
  );
  for (const command of commands) program.addCommand(command);
  for (const command of withSubcommands(program)) configure(command);
  return program.hook('preAction', (_, command) => readSwitches(command));
}

/** A command and all below it. */
export const withSubcommands = (command: Command): Command[] => [
  command,
  ...command.commands.flatMap(withSubcommands),
];

/** `shoes-vz template build` */
export const nameOf = (command: Command): string =>
  command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;

function configure(command: Command): void {
  const outputError = (text: string, write: (text: string) => void): void => {
    const complaint = oneLine(text.replace(/^error: /, ''));
    write(`shoes-vz: ${complaint} (see ${nameOf(command)} --help)\n`);
  };
  command.exitOverride().helpCommand(false).configureOutput({ outputError });
}

const TRUE = ['true', '1', 'yes', 'on'];
const FALSE = ['false', '0', 'no', 'off'];

/** commander takes the mere presence of a switch's variable for true. */
function readSwitches(command: Command): void {
  for (const option of command.options) {
    const { envVar } = option;
    if (envVar === undefined || option.required || option.optional) continue;
    const name = option.attributeName();
    const text = process.env[envVar]?.toLowerCase();
    if (text === undefined || command.getOptionValueSource(name) !== 'env') continue;
    if (FALSE.includes(text)) command.setOptionValue(name, option.negate ? true : undefined);
    else if (!TRUE.includes(text)) {
      const message = `option '${option.flags}' value '${text}' from env '${envVar}' is invalid. It has to be true or false.`;
      command.error(message, { code: 'commander.invalidArgument' });
    }
  }
}
