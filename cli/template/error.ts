import { ExplainedError } from '../../kube/explained-error.ts';

/** A template could not be built. The message is one line that says what is missing and what to do. */
export class TemplateBuildError extends ExplainedError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TemplateBuildError';
  }
}

/** A program of the operating system is missing. */
export class MissingProgramError extends TemplateBuildError {}
