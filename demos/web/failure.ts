import { Emu3Error } from '../../kernels/core/errors.js';
import type { Failure } from './messages.js';

/** Whatever was thrown, as the page shows it: place and remedy on lines of their own. */
export function failureOf(error: unknown): Failure {
  if (error instanceof Emu3Error) {
    const { code, where, fix } = error;
    return { code, where, fix, message: error.message.replace(` [${where}] ${fix}`, '') };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'unexpected', message, where: 'page', fix: 'Reload the page, and report this if it stays.' };
}
