import { readdir, readFile } from 'node:fs/promises';

/** Pids of the processes whose arguments name the text. */
export async function processesNaming(text: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number);
  const naming = async (pid: number): Promise<boolean> => {
    const cmdline = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return cmdline.includes(text);
  };
  const found = await Promise.all(pids.map(naming));
  return pids.filter((_, index) => found[index]);
}
