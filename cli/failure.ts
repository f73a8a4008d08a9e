/** A user's mistake or a machine's lack, in one line that says what would be right. */
export class CliError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CliError';
  }
}

/** Errors whose message is one line for people; any other is a bug and shows its stack. */
const EXPECTED = new Set([
  'CliError',
  'ApiError',
  'ApiUnreachable',
  'KubeconfigError',
  'ControlPlaneError',
  'PackagesError',
  'HostNameError',
  'HostNameTakenError',
  'MachineIdError',
  'HttpEndpointError',
  'HostRootError',
  'RootLockedError',
  'NameTakenError',
  'ControllerError',
  'GuestLinkError',
  'TemplateBuildError',
  'SshError',
  'VmError',
]);

/** sysexits.h: an internal software error. */
const EX_SOFTWARE = 70;

export function explainFailure(error: unknown): { text: string; exitCode: number } {
  if (error instanceof Error && EXPECTED.has(error.name)) {
    return { text: `shoes-vz: ${error.message}`, exitCode: 1 };
  }
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `shoes-vz: this is a bug: ${what}`, exitCode: EX_SOFTWARE };
}
