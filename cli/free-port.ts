import { createServer } from 'node:net';
import { CliError } from './failure.ts';

export interface WantedPort {
  /** Names it to the user. */
  readonly flag: string;
  readonly host: string;
  /** 0 is never refused. */
  readonly port: number;
}

/**
 * Fails, naming the flag, where nobody could listen on a port. Asked before anything is made that would have to be
 * unmade. Another program may still take the port before it is needed.
 */
export async function requireFreePort({ flag, host, port }: WantedPort): Promise<void> {
  if (port === 0) return;
  const code = await tryToListen(host, port);
  if (code !== undefined) throw new CliError(`${flag}: ${why(code, host, port)}`);
}

function why(code: string, host: string, port: number): string {
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} of ${host} is taken by another program; choose another`;
    case 'EACCES':
      return `port ${port} needs root; choose one above 1023`;
    case 'EADDRNOTAVAIL':
      return `${host} is no address of this machine; 127.0.0.1 always is`;
    default:
      return `nobody can listen on port ${port} of ${host} (${code})`;
  }
}

function tryToListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
