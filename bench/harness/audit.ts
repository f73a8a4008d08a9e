/** A request as the API server's audit log has it, at level Metadata. */
export interface AuditEvent {
  readonly verb: string;
  readonly userAgent?: string | undefined;
  readonly requestURI: string;
  readonly requestReceivedTimestamp: string;
  readonly objectRef?:
    | { readonly resource: string; readonly subresource?: string; readonly name?: string }
    | undefined;
}

/** Writes of controller and node daemon about one Runner, its Events included, as `verb resource`. */
export function writesAbout(runnerName: string, events: readonly AuditEvent[]): string[] {
  return events
    .filter(({ verb }) => ['create', 'update', 'patch', 'delete'].includes(verb))
    .filter(({ userAgent }) => /^shoes-vz-(controller|node-daemon)\//.test(userAgent ?? ''))
    .filter(({ objectRef }) => isAbout(runnerName, objectRef?.name))
    .map(({ verb, objectRef }) => {
      const { resource = '', subresource } = objectRef ?? {};
      return `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}`;
    });
}

/** An Event's name is its Runner's and a suffix. */
const isAbout = (runnerName: string, name: string | undefined): boolean =>
  name === runnerName || name?.startsWith(`${runnerName}.`) === true;

/** Quorum reads (GET without resourceVersion) of one Runner by node daemons: when each arrived, epoch ms. */
export function quorumReadsOf(runnerName: string, events: readonly AuditEvent[]): number[] {
  return events
    .filter(({ verb, userAgent }) => verb === 'get' && userAgent?.startsWith('shoes-vz-node-daemon/'))
    .filter(({ objectRef }) => objectRef?.resource === 'runners' && objectRef.name === runnerName)
    .filter(({ requestURI }) => !requestURI.includes('resourceVersion='))
    .map(({ requestReceivedTimestamp }) => Date.parse(requestReceivedTimestamp));
}
