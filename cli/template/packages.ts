/**
 * What is asked of apt, by names that are the same in Debian 12 and 13; what they depend on comes along. A
 * pattern (`?…`) stands for all packages that it matches.
 */
export const GUEST_PACKAGES: readonly string[] = [
  // What every Debian has. usr-is-merged instead of the package that merges /usr by a script.
  '?essential',
  'usr-is-merged',
  'apt',
  'debian-archive-keyring',
  // Boot and SSH.
  'busybox-static',
  'dropbear-bin',
  'openssh-sftp-server',
  'e2fsprogs',
  'iproute2',
  'kmod',
  // The setup script's tools.
  'ca-certificates',
  'curl',
  'git',
  'jq',
  'mount',
  'netbase',
  'openssh-client',
  'passwd',
  'procps',
  'sudo',
  'unzip',
  'xz-utils',
  'zstd',
  // The agent's Node.js.
  'libstdc++6',
  // The Actions runner: .NET looks for ICU.
  '?name(^libicu[0-9]+$)',
];

/** Depends on the newest kernel for virtual machines. */
export const KERNEL_PACKAGE = { amd64: 'linux-image-cloud-amd64', arm64: 'linux-image-cloud-arm64' } as const;
