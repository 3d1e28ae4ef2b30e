/**
 * How text is cut into pieces before byte-pair encoding: contractions, words with at most one leading mark, single
 * digits, punctuation, line ends, spaces. Merges never cross a piece.
 */

/** The rule as tokenizer files write it (Rust and Oniguruma syntax). */
export const splitPattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/**
 * The same rule for JavaScript's `u` flag. Inline `(?i:` is younger than the engines we run on, so both cases are
 * written out (the long s folds to s, as in Unicode case folding). JavaScript's `\s` has the byte-order mark and lacks
 * U+0085, so the Unicode property stands in for it.
 */
export const splitPatternJavaScript =
  "'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\p{White_Space}\\p{L}\\p{N}]+[\\r\\n]*|\\p{White_Space}*[\\r\\n]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+";
