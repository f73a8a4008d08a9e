import { readFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { writeFileAtomic } from './files.ts';
import type { Pki } from './pki.ts';

const NAME = 'shoes-vz';

/** Writes a kubeconfig that carries the administrator's key: readable by its owner only. */
export async function writeKubeconfig(path: string, server: string, pki: Pki): Promise<void> {
  const base64 = (file: string): Promise<string> => readFile(file, 'base64');
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: NAME, cluster: { server, 'certificate-authority-data': await base64(pki.caCertificate) } },
    ],
    users: [
      {
        name: NAME,
        user: {
          'client-certificate-data': await base64(pki.adminCertificate),
          'client-key-data': await base64(pki.adminKey),
        },
      },
    ],
    contexts: [{ name: NAME, context: { cluster: NAME, user: NAME } }],
    'current-context': NAME,
  };
  await writeFileAtomic(path, stringify(kubeconfig, { lineWidth: 0 }));
}
