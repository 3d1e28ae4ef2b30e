/**
 * Byte-pair training: starting from the 256 bytes, the most frequent neighbouring pair of symbols becomes one symbol,
 * again and again. Ties go to the pair with the smaller ids, so a corpus always gives the same merges.
 */
import { byteLevelAlphabet } from '../text/byte-level.js';
import { splitPatternJavaScript } from '../text/split.js';

/** A learned merge: the strings of its halves, in byte-level characters. */
export type Merge = readonly [left: string, right: string];

export interface BytePairVocabulary {
  /** Token strings in order of id: the 256 bytes, then one token a merge. */
  tokens: string[];
  merges: Merge[];
}

/** One distinct piece of the corpus as symbol ids, and how often it occurs. */
interface Piece {
  symbols: number[];
  count: number;
}

/**
 * Learns at most `mergeCount` merges; fewer when no pair occurs twice any more.
 *
 * @param corpus texts, NFC-normalised here; merges stay inside the pieces of the split rule
 */
export function trainBytePairs(corpus: Iterable<string>, mergeCount: number): BytePairVocabulary {
  const { bytes, characters } = byteLevelAlphabet();
  const idOfByte = new Map(bytes.map((byte, id) => [byte, id]));
  const tokens = [...characters];
  const merges: Merge[] = [];
  const pieces = countPieces(corpus, idOfByte);
  // Ids stay far below 2^26, so a pair fits one exact number and sorts by its left id, then its right one.
  const pairKey = (left: number, right: number): number => left * 2 ** 26 + right;
  const pairCounts = new Map<number, number>();
  const addPairs = (piece: Piece, sign: 1 | -1): void => {
    forEachPair(piece.symbols, (left, right) => {
      const key = pairKey(left, right);
      const count = (pairCounts.get(key) ?? 0) + sign * piece.count;
      if (count === 0) pairCounts.delete(key);
      else pairCounts.set(key, count);
    });
  };
  for (const piece of pieces) addPairs(piece, 1);

  while (merges.length < mergeCount) {
    let best = -1;
    let bestCount = 1;
    for (const [key, count] of pairCounts) {
      if (count > bestCount || (count === bestCount && best >= 0 && key < best)) {
        best = key;
        bestCount = count;
      }
    }
    if (best < 0) break;
    const left = Math.floor(best / 2 ** 26);
    const right = best % 2 ** 26;
    const leftToken = tokens[left];
    const rightToken = tokens[right];
    merges.push([leftToken, rightToken]);
    const merged = tokens.push(leftToken + rightToken) - 1;
    for (const piece of pieces) {
      let found = false;
      forEachPair(piece.symbols, (first, second) => {
        found ||= first === left && second === right;
      });
      if (!found) continue;
      addPairs(piece, -1);
      piece.symbols = mergePair(piece.symbols, left, right, merged);
      addPairs(piece, 1);
    }
  }
  return { tokens, merges };
}

function countPieces(corpus: Iterable<string>, idOfByte: ReadonlyMap<number, number>): Piece[] {
  const pattern = new RegExp(splitPatternJavaScript, 'gu');
  const encoder = new TextEncoder();
  const pieces = new Map<string, Piece>();
  for (const text of corpus) {
    for (const [word] of text.normalize('NFC').matchAll(pattern)) {
      const known = pieces.get(word);
      if (known !== undefined) known.count++;
      else
        pieces.set(word, {
          symbols: Array.from(encoder.encode(word), (byte) => idOfByte.get(byte) ?? 0),
          count: 1,
        });
    }
  }
  return [...pieces.values()];
}

function forEachPair(symbols: number[], visit: (left: number, right: number) => void): void {
  let left: number | undefined;
  for (const right of symbols) {
    if (left !== undefined) visit(left, right);
    left = right;
  }
}

/** Replaces the pair from left to right; in `aaa` the first two merge. */
function mergePair(symbols: number[], left: number, right: number, merged: number): number[] {
  const result: number[] = [];
  for (const symbol of symbols) {
    if (symbol === right && result.at(-1) === left && result.length > 0) result[result.length - 1] = merged;
    else result.push(symbol);
  }
  return result;
}
