import { Command } from 'commander';
import { controllerCommand } from './commands/controller.ts';
import { demoCommand } from './commands/demo.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downCommand } from './commands/down.ts';
import { nodeDaemonCommand } from './commands/node-daemon.ts';
import { templateCommand } from './commands/template.ts';
import { upCommand } from './commands/up.ts';
import { versionCommand } from './commands/version.ts';

/** The whole command line. Parsing throws CommanderError for what is no command of ours, and for --help. */
export function shoesVz(): Command {
  const program = new Command('shoes-vz')
    .description('Virtual machines as Kubernetes resources: one clean macOS or Linux VM per CI job.')
    .showHelpAfterError('(--help tells what there is)')
    .helpCommand(false);
  const commands = [
    upCommand(),
    downCommand(),
    demoCommand(),
    controllerCommand(),
    nodeDaemonCommand(),
    templateCommand(),
    doctorCommand(),
    versionCommand(),
  ];
  for (const command of commands) program.addCommand(command);
  for (const command of [program, ...commands, ...commands.flatMap((one) => one.commands)]) {
    command.exitOverride().showHelpAfterError('(--help tells what there is)');
  }
  return program;
}
