import { runAgent } from '../agent.ts';
import { macosPlatform } from './platform.ts';

/** Put in by the template build. */
declare const SHOESVZ_VERSION: string;

void runAgent(await macosPlatform(), SHOESVZ_VERSION);
