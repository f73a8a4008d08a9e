/**
 * Command line that runs a POSIX shell program in the guest, whatever the user's login shell is: sh, bash, zsh
 * and fish read single quotes alike as long as there is neither a quote nor a backslash between them. So a
 * `program` has none; arguments may have any. All of it is public in the guest's process list.
 */
export function guestCommand(program: string, args: readonly string[]): string {
  return ['/bin/sh', '-c', quote(program), 'shoes-vz', ...args.map(quote)].join(' ');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
