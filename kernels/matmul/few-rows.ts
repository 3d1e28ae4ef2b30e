import { expectShape, floatType } from '../core/checks.js';
import type { DType, Operand } from '../core/types.js';

/** What a product of few rows does besides multiplying; see few-rows.wgsl. */
export interface Fusion<T> {
  /** The weight holds the rows of a gate G and then those of U: out = silu(x Gt) * (x Ut), SwiGLU (Shazeer 2020, arXiv 2002.05202). */
  gated?: boolean | undefined;
  /** An RMSNorm that x passes before: `gain` [depth], f32 or f16, and what is added to the mean square. */
  norm?: { readonly gain: T; readonly epsilon: number } | undefined;
  /** What is added to the outputs, of their shape; f32 or f16. */
  addend?: T | undefined;
}

/** Of kernels that stand behind few-rows.wgsl. */
export const fewRowsPrelude = {
  aliases: { TypeGain: 'f32', TypeAddend: 'f32' },
  constants: { GATED: 0, NORMED: 0, ADDEND: 0 },
} as const;

/** What few-rows.wgsl takes. */
interface FusedCall<T> {
  aliases: Record<keyof typeof fewRowsPrelude.aliases, DType>;
  constants: Record<keyof typeof fewRowsPrelude.constants, number>;
  params: { epsilon: number };
  bindings: { gain: T; addend: T };
}

/**
 * The part of a kernel call that few-rows.wgsl takes.
 *
 * @throws Emu3Error `shape` when the gain or the addend does not fit, `dtype` when one is not floating point.
 */
export function fusedCall<T extends Operand>(kernel: string, x: T, out: T, fusion: Fusion<T>): FusedCall<T> {
  const { gated = false, norm, addend } = fusion;
  if (norm) expectShape(kernel, 'gain', norm.gain, x.shape.slice(-1));
  if (addend) expectShape(kernel, 'addend', addend, out.shape);
  // What is not read is bound to x.
  const bindings = { gain: norm?.gain ?? x, addend: addend ?? x };
  return {
    aliases: {
      TypeGain: floatType(kernel, 'gain', bindings.gain),
      TypeAddend: floatType(kernel, 'addend', bindings.addend),
    },
    constants: { GATED: Number(gated), NORMED: Number(norm !== undefined), ADDEND: Number(addend !== undefined) },
    params: { epsilon: norm?.epsilon ?? 0 },
    bindings,
  };
}
