import { API_VERSION } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import type { TemplateMetadata } from '../../node-daemon/vm/template.ts';

/** What the demo declares: a class, a template upon the bundle that was built, and a Runner. */

const SCRIPT = `#!/bin/sh
set -eu
echo "hello from $(hostname), running Linux $(uname -r) on $(nproc) CPU"
echo "disk: $(df -h --output=size / | tail -1 | tr -d ' ') of my own; user: $(id -un)"
`;

export const demoClass: RunnerClass = {
  apiVersion: API_VERSION,
  kind: 'RunnerClass',
  metadata: { name: 'demo' },
  spec: { cpu: 1, memory: '512Mi', disk: '4Gi' },
};

export const demoTemplate = ({ name, digest, os, arch, user }: TemplateMetadata): Template => ({
  apiVersion: API_VERSION,
  kind: 'Template',
  metadata: { name: 'linux' },
  spec: {
    os,
    arch,
    ssh: { user, port: 22 },
    guestAgent: { enabled: true, port: 8080 },
    source: { bundle: { name, digest } },
  },
});

export const demoRunner: Runner = {
  apiVersion: API_VERSION,
  kind: 'Runner',
  metadata: { name: 'hello', namespace: 'default' },
  spec: {
    templateName: 'linux',
    className: 'demo',
    completion: 'Never',
    startAttempts: 3,
    setupScript: { inline: SCRIPT },
  },
};
