/**
 * An expected failure whose message is one line for a person: what is wrong, and what would be right. It holds no
 * secret. Programs print it as it is; whatever else is thrown is a bug or I/O, and keeps its stack.
 */
export class ExplainedError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ExplainedError';
  }
}
