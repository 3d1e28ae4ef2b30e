/**
 * A seeded random number generator whose whole state is one 32-bit integer, so that a training run can store it in a
 * checkpoint and continue with the same draws. The generator is SplitMix32: a Weyl sequence (step 0x9e3779b9) passed
 * through the 32-bit finaliser of MurmurHash3 (Steele, Lea and Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014, section 5, in its 32-bit form). Its period is 2^32 draws.
 */
export class SeededRandom {
  private state: number;

  /** @param seed any integer; only its low 32 bits count. */
  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** The state to store in a checkpoint; `new SeededRandom(saved)` continues the same sequence. */
  save(): number {
    return this.state;
  }

  /** A uniform unsigned 32-bit integer. */
  nextUint32(): number {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    return mix32(this.state);
  }

  /** A uniform number in [0, 1) with 32 random bits. */
  next(): number {
    return this.nextUint32() / 4294967296;
  }

  /** A uniform integer in [0, bound); bound is a positive integer below 2^32. */
  integer(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  /** One of the items, each as likely. */
  pick<Item>(items: readonly Item[]): Item {
    return items[this.integer(items.length)];
  }

  /** A uniform number in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** A standard normal number, by the Box-Muller transform (two uniform draws each). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.next()));
    return radius * Math.cos(2 * Math.PI * this.next());
  }

  /** A new array with the values in a uniformly random order (a sort by random keys, ties by position). */
  shuffled<T>(values: readonly T[]): T[] {
    const keyed = values.map((value, index) => ({ value, index, key: this.nextUint32() }));
    keyed.sort((a, b) => a.key - b.key || a.index - b.index);
    return keyed.map((entry) => entry.value);
  }
}

/** The 32-bit finaliser of MurmurHash3: a bijection of the unsigned 32-bit integers that scatters nearby values. */
function mix32(value: number): number {
  let bits = value ^ (value >>> 16);
  bits = Math.imul(bits, 0x85ebca6b);
  bits ^= bits >>> 13;
  bits = Math.imul(bits, 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** The FNV-1a hash of the string's UTF-16 units: turns names into seeds, so that a draw depends on its name alone. */
export function hashString(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}
