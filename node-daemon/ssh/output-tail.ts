import { stripVTControlCharacters } from 'node:util';

/** What a text may hold beside letters: everything else that is a control character goes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/**
 * The end of a program's output as text that is safe to print and to store: at most `maxBytes` of UTF-8, begun
 * at a character's boundary; without colours, cursor movements and other control characters but line ends and
 * tabs; a return of the carriage, as progress bars use it, ends the line. What is not UTF-8 becomes U+FFFD.
 */
export function cutTail(output: Buffer, maxBytes: number): string {
  const text = stripVTControlCharacters(lastCharacters(output, output.length).toString('utf8'))
    .replace(/\r+\n?/g, '\n')
    .replace(CONTROLS, '');
  // Measured again: replacements are longer than what they replace.
  return lastCharacters(Buffer.from(text), maxBytes).toString('utf8');
}

/** The last bytes, at most `maxBytes`, without the rest of a character whose beginning was cut off. */
function lastCharacters(bytes: Buffer, maxBytes: number): Buffer {
  const from = Math.max(0, bytes.length - maxBytes);
  let skipped = 0;
  while (skipped < 3 && isContinuation(bytes[from + skipped])) skipped += 1;
  return bytes.subarray(from + skipped);
}

/** Whether a byte goes on with a UTF-8 character that began before it. */
function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
