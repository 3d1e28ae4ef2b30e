/** Text as it is decoded token by token. */
import type { TextTokenizer } from '../../tokenizer/index.js';

/** Turns ids into text without ever telling half a character. */
export class TextStream {
  /** Ids so far. */
  readonly ids: number[] = [];
  private readonly tokenizer: TextTokenizer;
  private told = 0;

  constructor(tokenizer: TextTokenizer) {
    this.tokenizer = tokenizer;
  }

  get text(): string {
    return this.tokenizer.decode(this.ids, { skipSpecial: true });
  }

  /** @returns the text that became sure with this id; empty while a character is not complete. */
  add(id: number): string {
    this.ids.push(id);
    const { text } = this;
    // A character cut short decodes to U+FFFD at the end of the text.
    return text.endsWith('\ufffd') ? '' : this.tell(text);
  }

  /** @returns what is left to be told. */
  end(): string {
    return this.tell(this.text);
  }

  private tell(text: string): string {
    const fresh = text.slice(this.told);
    this.told = text.length;
    return fresh;
  }
}
