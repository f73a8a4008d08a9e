/** A controller as a process of its own, to be killed: `node controller-process.ts <kubeconfig>`. */
import { pino } from 'pino';
import { runController } from '../../controller/main.ts';
import { loadKubeClient } from '../../kube/client.ts';

const client = loadKubeClient({ kubeconfigPath: process.argv[2], userAgent: 'shoes-vz-controller/test' });
const controller = await runController({ client, log: pino({ level: 'silent' }) });
await controller.ready;
process.stdout.write('ready\n');
// A parent that died leaves nobody to kill this.
process.stdout.on('error', () => process.exit(1));
setInterval(() => process.ppid === 1 && process.exit(1), 1000);
