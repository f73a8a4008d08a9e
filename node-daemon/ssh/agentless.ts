import ssh2 from 'ssh2';
import { SshError } from './errors.ts';
import { guestCommand } from './guest-command.ts';
import { formatPublicKey } from './host-key.ts';
import { openSession, type SshSession, type SshTarget } from './session.ts';

/**
 * Replaces what is authorized, at one stroke: the guest has the old keys or the new one, never less. Argument:
 * the public key.
 */
const AUTHORIZE = `
umask 077
mkdir -p "$HOME/.ssh" || exit 73
new=$(mktemp "$HOME/.ssh/authorized_keys.XXXXXX") || exit 73
echo "$1" > "$new" && mv -f "$new" "$HOME/.ssh/authorized_keys" || { rm -f "$new"; exit 74; }
rm -f "$HOME/.ssh/authorized_keys2"
`;

const TIMEOUT_MS = 30_000;

/**
 * Takes the template's key, which every clone shares, out of use in a guest without the agent: makes the key
 * of `own` the only authorized one, proves it by logging in with it to the very same host key, and closes
 * `session`. Returns the new session. Idempotent: a session that was let in with `own.privateKey` is returned
 * as it is, so a login with `{...own, fallbackKey: template's}` followed by this is right whether or not a
 * former process got this far. Rejects with an {@link SshError}; then `session` is still open.
 */
export async function rotateLogin(
  session: SshSession,
  own: SshTarget,
  options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<SshSession> {
  const { timeoutMs = TIMEOUT_MS, signal } = options;
  const publicKey = publicKeyOf(own.privateKey);
  if (session.publicKey === publicKey) return session;
  const command = guestCommand(AUTHORIZE, [publicKey]);
  const { exitCode } = await session.exec(command, { timeoutMs, signal, maxOutputBytes: 1024 });
  if (exitCode !== 0) {
    throw new SshError('protocol', `the guest's authorized_keys cannot be replaced (exit code ${exitCode})`);
  }
  const target = { ...own, fallbackKey: undefined, hostKey: session.hostKey };
  const rotated = await openSession(target, { timeoutMs, signal });
  session.close();
  return rotated;
}

/** `ssh-ed25519 AAAA…` of a private key. */
function publicKeyOf(privateKey: string): string {
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error) throw new SshError('auth', "the Runner's own private key cannot be read");
  return formatPublicKey((Array.isArray(parsed) ? parsed[0] : parsed).getPublicSSH());
}
