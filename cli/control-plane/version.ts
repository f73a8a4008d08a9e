/** The Kubernetes that `shoes-vz up` runs, and that the build recipe beside this file pins. */
export const KUBERNETES_VERSION = 'v1.36.2';

/** The programs of a control plane, and the client that people use. */
export const PROGRAMS = ['etcd', 'kube-apiserver', 'kubectl'] as const;
export type Program = (typeof PROGRAMS)[number];

/** `<os>-<arch>` as Go and the release archives name them: linux-amd64, darwin-arm64. */
export function goPlatform(): { readonly os: string; readonly arch: string } {
  return { os: process.platform, arch: process.arch === 'x64' ? 'amd64' : process.arch };
}
