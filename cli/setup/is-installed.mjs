// Exits 0 where node_modules holds what package-lock.json says, whoever installed it: `npm install <package>`
// leaves nothing to do. Runs before anything is installed, hence plain JavaScript for Node 20.
import { readFileSync } from 'node:fs';

const read = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;

function isInstalled() {
  const wanted = read('package-lock.json');
  // npm's own note of what it has put there, without what other platforms need.
  const installed = read('node_modules/.package-lock.json');
  const differs = (path) =>
    installed[path] === undefined
      ? !wanted[path].optional
      : installed[path].integrity !== wanted[path].integrity;
  return (
    Object.keys(wanted).every((path) => path === '' || !differs(path)) &&
    Object.keys(installed).every((path) => wanted[path] !== undefined)
  );
}

try {
  process.exitCode = isInstalled() ? 0 : 1;
} catch {
  process.exitCode = 1;
}
