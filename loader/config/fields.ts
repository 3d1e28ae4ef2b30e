import { Emu3Error } from '../../kernels/core/errors.js';
import { quote } from '../json.js';

/** Reads typed fields out of a config; every error names the file and the field. */
export class ConfigFields {
  constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly where: string,
  ) {}

  /** The value of the first of `names` that is present and not null. */
  raw(...names: string[]): unknown {
    for (const name of names) {
      const value = this.values[name];
      if (value !== undefined && value !== null) return value;
    }
    return undefined;
  }

  integer(names: string | readonly string[], fallback: number, minimum: number): number {
    return this.number(names, fallback, (value) => Number.isSafeInteger(value) && value >= minimum, {
      expected: minimum === 0 ? 'an integer, 0 or more' : `an integer, ${minimum} or more`,
    });
  }

  positive(name: string, fallback: number): number {
    return this.number(name, fallback, (value) => Number.isFinite(value) && value > 0, {
      expected: 'a number above 0',
    });
  }

  probability(name: string, fallback: number): number {
    return this.number(name, fallback, (value) => value >= 0 && value < 1, { expected: 'a number in [0, 1)' });
  }

  boolean(names: string | readonly string[], fallback: boolean): boolean {
    const list = typeof names === 'string' ? [names] : names;
    const value = this.raw(...list);
    if (value === undefined) return fallback;
    if (typeof value !== 'boolean') throw this.error(this.present(list), `must be true or false, not ${quote(value)}`);
    return value;
  }

  integers(names: readonly string[], fallback: readonly number[], minimum: number): number[] {
    const value = this.raw(...names);
    if (value === undefined) return [...fallback];
    const valid = Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= minimum);
    if (!valid) {
      throw this.error(this.present(names), `must be a list of integers, ${minimum} or more, not ${quote(value)}`);
    }
    return value.map(Number);
  }

  oneOf(name: string, allowed: readonly string[]): void {
    const value = this.raw(name);
    if (value !== undefined && !(typeof value === 'string' && allowed.includes(value))) {
      throw this.error(name, `must be ${allowed.join(' or ')}, not ${quote(value)}`);
    }
  }

  /** An error about one field. `problem` completes the sentence "FIELD …". */
  error(field: string, problem: string, fix = 'Correct the field in the config file.'): Emu3Error {
    return new Emu3Error(`${field} ${problem}.`, { code: 'config', where: `${this.where}: ${field}`, fix });
  }

  private number(
    names: string | readonly string[],
    fallback: number,
    valid: (value: number) => boolean,
    { expected }: { expected: string },
  ): number {
    const list = typeof names === 'string' ? [names] : names;
    const value = this.raw(...list);
    if (value === undefined) return fallback;
    if (typeof value !== 'number' || !valid(value)) {
      throw this.error(this.present(list), `must be ${expected}, not ${quote(value)}`);
    }
    return value;
  }

  private present(names: readonly string[]): string {
    return names.find((name) => this.raw(name) !== undefined) ?? names.at(0) ?? 'config';
  }
}
