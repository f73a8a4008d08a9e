import { Command } from 'commander';
import { VERSION } from '../version.ts';

export const versionCommand = (): Command =>
  new Command('version')
    .description('Tells the version of shoes-vz and of the Node that runs it.')
    .action(() => {
      process.stdout.write(
        `shoes-vz ${VERSION} (node ${process.version}, ${process.platform} ${process.arch})\n`,
      );
    });
