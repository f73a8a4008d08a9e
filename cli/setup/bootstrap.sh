#!/bin/sh
# Makes a fresh clone ready to run: npm packages as package-lock.json has them, Node 24 among them. Called by
# every npm script; costs milliseconds when there is nothing to do. Needs Node >= 20 with npm. Says
# everything on stderr: the stdout of the script that follows belongs to its user.
set -eu
cd "$(dirname "$0")/../.."

stamp=node_modules/.shoes-vz-installed

say() { printf '%s\n' "shoes-vz: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

# An exact copy of the lock file, written after everything was found in place.
is_ready() { [ -x node_modules/.bin/node ] && cmp -s package-lock.json "$stamp"; }

node_is_right() {
  [ "$(node_modules/.bin/node -p 'process.versions.node.split(".")[0] >= 24' 2>/dev/null)" = true ]
}

install_packages() {
  command -v npm >/dev/null 2>&1 || fail "npm is not in PATH: install Node.js 20 or newer with npm"
  say "installing npm packages, this once"
  npm ci --no-progress --loglevel=error >&2 || fail "npm ci failed: see its messages above"
}

# npm runs the install script of the package "node" only where its configuration lets it.
install_node() {
  node_is_right && return
  say "installing Node.js 24"
  npm rebuild node --ignore-scripts=false >&2 || true
  node_is_right || fail "node_modules/.bin/node is not Node.js 24: allow the install script of the npm package 'node' (npm config: ignore-scripts=false, allow-scripts), then run: npm ci"
}

is_ready && exit 0

# Two scripts started at once must not install into the same directory. macOS has no flock.
exec 9<package.json
if command -v flock >/dev/null 2>&1; then
  flock -n 9 || say "waiting for another process that installs npm packages"
  flock 9
  if is_ready; then exit 0; fi
fi

if ! { [ -x node_modules/.bin/node ] && node cli/setup/is-installed.mjs; }; then install_packages 9<&-; fi
install_node 9<&-
cp package-lock.json "$stamp"
