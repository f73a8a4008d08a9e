import { InvalidArgumentError } from 'commander';
import { HOST_KINDS, type Host, type HostKind } from '../../crds/host.ts';
import { GROUP } from '../../crds/meta.ts';
import { HOST_RESOURCES } from '../../crds/resources.ts';
import { DnsName } from '../../crds/scalars.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Stored } from '../../kube/object.ts';
import { CliError } from '../failure.ts';

/** A host as a person names it. Without a kind: whichever has the name. */
export interface HostArgument {
  readonly kind: HostKind | undefined;
  readonly name: string;
}

/** `mini-1`, `machost/mini-1`, `machosts.shoesvz.dev/mini-1`: as kubectl lets one name things, and prints them. */
export function hostArgument(text: string): HostArgument {
  const [name = '', resource, ...more] = text.split('/').reverse();
  const kind = resource === undefined ? undefined : hostKind(resource);
  const isKindGood = resource === undefined || kind !== undefined;
  if (more.length === 0 && isKindGood && DnsName.safeParse(name).success) return { kind, name };
  throw new InvalidArgumentError(
    'It has to be the name of a host, of lower-case letters, digits, "-" and ".", or machost/NAME or linuxhost/NAME.',
  );
}

function hostKind(text: string): HostKind | undefined {
  const word = text.toLowerCase().replace(new RegExp(`\\.${GROUP.replace('.', '\\.')}$`), '');
  return HOST_KINDS.find((kind) => [kind.toLowerCase(), HOST_RESOURCES[kind].plural].includes(word));
}

/** Throws CliError, with one line, where there is no such host. */
export async function findHost(
  client: Pick<KubeClient, 'resources'>,
  { kind, name }: HostArgument,
): Promise<Stored<Host>> {
  const kinds = kind === undefined ? HOST_KINDS : [kind];
  const answers = await Promise.all(
    kinds.map((one) => client.resources<Host>(HOST_RESOURCES[one]).get({ name })),
  );
  const [host, other] = answers.filter((answer) => answer !== undefined);
  if (host === undefined) {
    throw new CliError(
      `there is no ${kinds.join(' or ')} ${name}: "kubectl get machosts,linuxhosts" lists those there are`,
    );
  }
  if (other === undefined) return host;
  throw new CliError(
    `there are a MacHost and a LinuxHost ${name}: name machost/${name} or linuxhost/${name}`,
  );
}

/** As kubectl prints it: `linuxhost.shoesvz.dev/mini-1`. */
export const printedName = ({ kind, metadata }: Pick<Host, 'kind' | 'metadata'>): string =>
  `${kind.toLowerCase()}.${GROUP}/${metadata.name}`;
