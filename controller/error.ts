import { ExplainedError } from '../kube/explained-error.ts';

/** The controller cannot start. The message is one line for a person that says what would be right. */
export class ControllerError extends ExplainedError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ControllerError';
  }
}
