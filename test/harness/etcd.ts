import { request } from 'node:http';
import { join } from 'node:path';
import { CLIENT_SOCKET } from '../../cli/control-plane/flags.ts';

/**
 * Throws away the history of a control plane's etcd up to a resourceVersion, as the API server does every five
 * minutes. Through etcd's JSON gateway.
 */
export async function compactEtcd(dataDir: string, resourceVersion: string): Promise<void> {
  const socketPath = join(dataDir, 'etcd', CLIENT_SOCKET);
  await new Promise<void>((resolve, reject) => {
    const call = request({ socketPath, path: '/v3/kv/compaction', method: 'POST' }, (response) => {
      response.resume();
      if (response.statusCode === 200) response.once('end', resolve);
      else reject(new Error(`etcd answered ${response.statusCode}`));
    });
    call.once('error', reject);
    call.end(JSON.stringify({ revision: resourceVersion, physical: true }));
  });
}
