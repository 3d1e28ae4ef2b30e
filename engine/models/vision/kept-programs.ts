import type { Program } from '../../graph/index.js';
import type { GpuTensor } from '../../tensor.js';

/** A recorded program, the tensor it reads and those it gives. */
export interface Compiled<Outputs> {
  readonly program: Program;
  readonly input: GpuTensor;
  readonly outputs: Outputs;
}

/** Programs by the shapes they were recorded for; beyond the limit the one made first is let go of. */
export class KeptPrograms<Outputs> {
  private readonly kept = new Map<string, Promise<Compiled<Outputs>>>();
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  async take(
    shape: readonly (number | string)[],
    compile: () => Promise<Compiled<Outputs>>,
  ): Promise<Compiled<Outputs>> {
    const key = shape.join('x');
    const known = this.kept.get(key);
    if (known) return known;
    const [oldest] = this.kept;
    if (this.kept.size >= this.limit && oldest) {
      this.kept.delete(oldest[0]);
      release(await oldest[1]);
    }
    const compiled = compile();
    this.kept.set(key, compiled);
    // What failed, for want of memory perhaps, may be tried again.
    compiled.catch(() => this.kept.delete(key));
    return compiled;
  }

  async destroy(): Promise<void> {
    for (const compiled of this.kept.values()) release(await compiled);
    this.kept.clear();
  }
}

function release({ program, input }: Compiled<unknown>): void {
  program.destroy();
  input.destroy();
}
