/** Byte-level tokenizer files write every byte as one printable character. */

/**
 * The bytes in the order of their ids, each as the printable character that stands for it in byte-level files:
 * printable bytes stand for themselves, the rest are moved above U+0100.
 */
export function byteLevelAlphabet(): { bytes: number[]; characters: string[] } {
  const range = (first: number, last: number): number[] =>
    Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const printable = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)];
  const hidden = range(0, 0xff).filter((byte) => !printable.includes(byte));
  return {
    bytes: [...printable, ...hidden],
    characters: [...printable, ...hidden.map((_, index) => 0x100 + index)].map((code) => String.fromCharCode(code)),
  };
}
