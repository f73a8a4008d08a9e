import { runAgent } from '../agent.ts';
import { linuxPlatform } from './platform.ts';

/** Put in by the template build. */
declare const SHOESVZ_VERSION: string;

void runAgent(linuxPlatform(), SHOESVZ_VERSION);
