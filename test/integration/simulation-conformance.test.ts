import { testClient, testNamespace, uniqueName } from '../harness/control-plane.ts';
import { conformance } from '../simulation/api-server/conformance.ts';

/** What the simulated API server is held to, on the real one. */
conformance('real', async () => {
  const client = testClient();
  return {
    client,
    namespace: await testNamespace(client),
    name: uniqueName,
    close: () => client.close(),
  };
});
