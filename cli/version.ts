import packageJson from '../package.json' with { type: 'json' };

/** Version of the whole project. */
export const VERSION: string = packageJson.version;
