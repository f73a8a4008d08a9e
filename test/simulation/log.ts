import type { Logger } from '../../kube/log.ts';
import type { Life } from './life.ts';

/** Makes the logger of one life of a process. */
export type LogInto = (life: Life) => Logger;

/** Hands every line to `take`, as the text that would be written. */
export const logInto =
  (take: (who: string, level: keyof Logger, line: string) => void): LogInto =>
  (life) => {
    const at = (level: keyof Logger) => (fields: object, message: string) => {
      if (!life.isDead) take(life.name, level, `${message} ${textOf(fields)}`);
    };
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  };

const textOf = (fields: object): string =>
  JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value));
