/** What the kernel says in a module's own file: the modules that must be loaded before it. */
export function moduleDependencies(object: Buffer): readonly string[] {
  const start = object.indexOf('\0depends=');
  if (start === -1) return [];
  const end = object.indexOf(0, start + 1);
  const list = object.toString('latin1', start + '\0depends='.length, end);
  return list.split(',').filter((name) => name !== '');
}

/**
 * The modules and all that they need, each after what it needs. A name of which `read` knows no module is taken to
 * be built into the kernel.
 */
export async function loadOrder(
  wanted: readonly string[],
  read: (name: string) => Promise<Buffer | undefined>,
): Promise<readonly { readonly name: string; readonly object: Buffer }[]> {
  const ordered = new Map<string, Buffer>();
  const visiting = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    if (ordered.has(name) || visiting.has(name)) return;
    visiting.add(name);
    const object = await read(name);
    if (object === undefined) return;
    for (const dependency of moduleDependencies(object)) await visit(dependency);
    ordered.set(name, object);
  };
  for (const name of wanted) await visit(name);
  return [...ordered].map(([name, object]) => ({ name, object }));
}
