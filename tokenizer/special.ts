/**
 * The special tokens of an Emu3 vocabulary. Every vocabulary (the released one, a small one built here, a toy one with
 * ids only) keeps the same order: text ranks, pad, im_start, im_end, extras, image token, image start, image end, and
 * then the visual tokens, contiguous and last.
 */
import { Emu3Error } from '../kernels/core/errors.js';

/** Ids of the tokens that lay out a document. Visual token of codebook entry `k` is `visualStart + k`. */
export interface SpecialTokens {
  /** Padding, and the row that training never updates. */
  pad: number;
  /** Begin of a document. */
  bos: number;
  /** End of a document. */
  eos: number;
  /** End of one row of visual tokens. */
  eol: number;
  /** End of one latent frame. */
  eof: number;
  /** `<|image token|>`: the visual tokens start right after it. */
  img: number;
  /** `<|image start|>`: the size header starts right after it. */
  boi: number;
  /** `<|image end|>`. */
  eoi: number;
  /** Id of codebook entry 0. */
  visualStart: number;
  /** Number of codebook entries. */
  visualCount: number;
}

/** A role that one single token plays; the visual range is the rest of {@link SpecialTokens}. */
export type SpecialRole = Exclude<keyof SpecialTokens, 'visualStart' | 'visualCount'>;

/** How each role is written in text. */
export const specialTokenNames: Readonly<Record<SpecialRole, string>> = {
  pad: '<|endoftext|>',
  bos: '<|extra_203|>',
  eos: '<|extra_204|>',
  eol: '<|extra_200|>',
  eof: '<|extra_201|>',
  img: '<|image token|>',
  boi: '<|image start|>',
  eoi: '<|image end|>',
};

const roles = Object.keys(specialTokenNames) as SpecialRole[];

/** The named special tokens of a vocabulary and the ids of their roles. The visual tokens are a range, not names. */
export interface SpecialVocabulary {
  /** String to id, for every special token but the visual ones. */
  named: ReadonlyMap<string, number>;
  ids: SpecialTokens;
}

/** `<|visual token 000042|>` for code 42. */
export function visualTokenName(code: number): string {
  return `<|visual token ${String(code).padStart(6, '0')}|>`;
}

/** Matches one visual token; group 1 is its six-digit code. */
export const visualTokenPattern = /<\|visual token (\d{6})\|>/;

/** Code of a visual token's string, or undefined when the string is not one. */
export function visualTokenCode(token: string): number | undefined {
  const match = new RegExp(`^${visualTokenPattern.source}$`).exec(token);
  return match?.[1] === undefined ? undefined : Number(match[1]);
}

/**
 * Gives the roles their ids by name.
 *
 * @param named string to id of the special tokens, visual ones excepted
 * @throws Emu3Error `format` when a role's token is missing
 */
export function specialVocabulary(
  named: ReadonlyMap<string, number>,
  visual: { start: number; count: number },
  where: string,
): SpecialVocabulary {
  const idOf = (role: SpecialRole): number => {
    const id = named.get(specialTokenNames[role]);
    if (id === undefined) {
      throw new Emu3Error(`The vocabulary has no ${specialTokenNames[role]} token (${role}).`, {
        code: 'format',
        where,
        fix: 'Use a tokenizer with the Emu3 special tokens, or pass `special: emu3SpecialVocabulary()`.',
      });
    }
    return id;
  };
  const ids: SpecialTokens = {
    pad: idOf('pad'),
    bos: idOf('bos'),
    eos: idOf('eos'),
    eol: idOf('eol'),
    eof: idOf('eof'),
    img: idOf('img'),
    boi: idOf('boi'),
    eoi: idOf('eoi'),
    visualStart: visual.start,
    visualCount: visual.count,
  };
  return { named, ids };
}

const releasedTextSize = 151_643;
const releasedExtraCount = 205;
const releasedVisualCount = 32_768;

/** The released Emu3 vocabulary: 151,643 text ranks, 211 named special tokens, 32,768 visual tokens. */
export function emu3SpecialVocabulary(): SpecialVocabulary {
  const names = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
  for (let extra = 0; extra < releasedExtraCount; extra++) names.push(`<|extra_${extra}|>`);
  names.push(specialTokenNames.img, specialTokenNames.boi, specialTokenNames.eoi);
  const named = new Map(names.map((name, index) => [name, releasedTextSize + index]));
  return specialVocabulary(
    named,
    { start: releasedTextSize + names.length, count: releasedVisualCount },
    'Emu3 vocabulary',
  );
}

/** Role of an id, `visual` for a visual token, undefined for text and for tokens without a role. */
export function roleOf(id: number, tokens: SpecialTokens): SpecialRole | 'visual' | undefined {
  if (isVisual(id, tokens)) return 'visual';
  return roles.find((role) => tokens[role] === id);
}

/** Whether an id is a visual token. */
export function isVisual(id: number, tokens: SpecialTokens): boolean {
  return id >= tokens.visualStart && id < tokens.visualStart + tokens.visualCount;
}
