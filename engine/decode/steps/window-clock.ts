/** Stretches that each size is measured for before the fastest is chosen. */
const trials = 2;
/** Stretches between measurements of the others, as pictures are easier to foresee in some parts than in others. */
const trialEvery = 24;

/** Chooses among sizes of windows by the tokens a second that each has brought. */
export class WindowClock {
  /** Seconds a token of each size, smoothed for the one in use. */
  private readonly cost: number[];
  private readonly tried: number[];
  private stretches = 0;

  constructor(sizes: number) {
    this.cost = new Array<number>(sizes).fill(Infinity);
    this.tried = new Array<number>(sizes).fill(0);
  }

  /** The size that has been fastest. */
  get best(): number {
    return this.cost.indexOf(Math.min(...this.cost));
  }

  /** The size for the next stretch. */
  next(): number {
    const untried = this.tried.findIndex((times) => times < trials);
    if (untried >= 0) return untried;
    const turn = Math.floor(this.stretches / trialEvery) % this.cost.length;
    return this.stretches % trialEvery === 0 ? turn : this.best;
  }

  /** @param tokens that a stretch of steps with this size has brought. */
  record(size: number, tokens: number, seconds: number): void {
    this.stretches += 1;
    this.tried[size] += 1;
    if (tokens === 0) return;
    const cost = seconds / tokens;
    // The first stretch pays for what the driver does once, and a size that was left alone may cost something else now.
    const smooth = this.tried[size] > trials && size === this.best;
    this.cost[size] = smooth ? 0.7 * this.cost[size] + 0.3 * cost : cost;
  }
}
