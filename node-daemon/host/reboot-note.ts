import { z } from 'zod';
import type { Logger } from '../../kube/log.ts';
import type { DurableFile } from '../durable-file.ts';

const NoteFile = z.object({ version: z.literal(1), bootId: z.string().min(1), why: z.string().min(1) });

export interface RebootNoteOptions {
  readonly file: DurableFile;
  /** Changes with every boot of the machine. */
  readonly bootId: () => Promise<string>;
  readonly log: Logger;
  changed(): void;
}

/**
 * That this machine must be rebooted before it can run VMs again, and why. Outlives daemons, and ends with the
 * boot that it was made in.
 */
export class RebootNote {
  readonly #options: RebootNoteOptions;
  #why: string | undefined;

  private constructor(options: RebootNoteOptions) {
    this.#options = options;
  }

  /** Reads what an earlier daemon noted in this boot. What cannot be read counts for nothing: it is found out anew. */
  static async open(options: RebootNoteOptions): Promise<RebootNote> {
    const note = new RebootNote(options);
    const text = await options.file.read().catch(() => undefined);
    if (text !== undefined) await note.#take(text);
    return note;
  }

  /** undefined: it need not be, as far as is known. */
  get why(): string | undefined {
    return this.#why;
  }

  /** From now on until the machine was booted anew. On return it is on disk, unless that is full. */
  async needed(why: string): Promise<void> {
    if (this.#why !== undefined) return;
    this.#why = why;
    const { bootId, file, log, changed } = this.#options;
    log.error({ why }, 'this machine has to be rebooted before it can run VMs again');
    try {
      const note = { version: 1, bootId: await bootId(), why } satisfies z.infer<typeof NoteFile>;
      await file.replace(`${JSON.stringify(note)}\n`);
    } catch (error) {
      log.warn(
        { err: error },
        'that this machine has to be rebooted is not on disk: the next daemon finds out anew',
      );
    }
    changed();
  }

  async #take(text: string): Promise<void> {
    const note = parse(text);
    if (note?.bootId === (await this.#options.bootId())) this.#why = note.why;
    else await this.#options.file.remove();
  }
}

function parse(text: string): z.infer<typeof NoteFile> | undefined {
  try {
    return NoteFile.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
