import { join } from 'node:path';

/** Where this file lies in a host root, the next clone on that host fails, and the file is gone. */
export const failureFile = (hostRoot: string): string => join(hostRoot, 'next-clone-fails');
