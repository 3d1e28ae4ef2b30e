import { throwIfAborted } from '../../../kernels/core/errors.js';
import { samplerStateIndex } from '../../../kernels/sampling/index.js';
import type { Device } from '../../device.js';
import { Graph, Program } from '../../graph/index.js';
import { acceptedHead, acceptDrafts } from '../../ops/jacobi.js';
import { packSamplerState, samplerStateLength, type AllowedRange } from '../../ops/sampling.js';
import { destroyTensors, GpuTensor, totalBytes } from '../../tensor.js';
import { BlockReader } from '../readback.js';
import type { DecodeRequest } from '../request.js';
import { predictTokens } from './predict.js';
import { defaultBlockSteps, type DecodedBlock, type DecodeParts, type Stepper } from './stepper.js';
import { WindowClock } from './window-clock.js';

/** What a window's step reads and leaves behind for the next, in GPU memory. */
interface WindowTensors {
  /** u32 [rows * window]: the last token that is certain, then drafts, of each row. */
  readonly inputs: GpuTensor;
  /** u32 [rows * window]: rotary positions. */
  readonly positions: GpuTensor;
  /** u32 [rows]: where each row's window begins in the cache. */
  readonly rowPositions: GpuTensor;
  /** u32 [sequences * window, 8]: the sampler's state for each place. */
  readonly sampler: GpuTensor;
  /** u32 [sequences * window]: what was drawn behind each place. */
  readonly drawn: GpuTensor;
  /** u32 [sequences * window, 1]: where the sampler keeps ids of its own. */
  readonly unused: GpuTensor;
}

/** A step for windows of one size. */
interface WindowProgram {
  readonly window: number;
  readonly tensors: WindowTensors;
  readonly program: Program;
}

/** How far each sequence is: ids kept. */
type Progress = readonly (readonly number[])[];

/**
 * Several tokens of every sequence a step, with the ids that one a step would give: a window of drafts is read at once, and
 * what was drawn behind right ones is kept. Noise is keyed by place, so it does not matter how often a token is drawn.
 * (Sums of several rows may be ordered otherwise than those of one: candidates within rounding of each other could change
 * places.) With several sizes of windows, each is tried on the request itself and the fastest goes on.
 */
export class JacobiStepper implements Stepper {
  private readonly parts: DecodeParts;
  private readonly windows: readonly WindowProgram[];
  /** u32 [sequences, 3 + capacity]: ids kept, behind their numbers. */
  private readonly accepted: GpuTensor;
  private readonly reader: BlockReader;
  private readonly clock: WindowClock;
  private prompts: readonly ArrayLike<number>[] = [];

  private constructor(parts: DecodeParts, windows: readonly WindowProgram[], accepted: GpuTensor) {
    this.parts = parts;
    this.windows = windows;
    this.accepted = accepted;
    this.reader = new BlockReader(parts.device, accepted);
    this.clock = new WindowClock(windows.length);
  }

  /** @param sizes tokens of the windows to choose from, each from 1. */
  static async create(parts: DecodeParts, sizes: readonly number[]): Promise<JacobiStepper> {
    const { device, state } = parts;
    const shape = [state.sequences, acceptedHead.length + state.capacity];
    const accepted = GpuTensor.create(device, shape, 'u32', 'accepted ids');
    const windows: WindowProgram[] = [];
    try {
      for (const size of sizes) windows.push(await createWindow(parts, accepted, size));
      return new JacobiStepper(parts, windows, accepted);
    } catch (error) {
      for (const window of windows) destroyWindow(window);
      accepted.destroy();
      throw error;
    }
  }

  /** Of the window that is used now. */
  get program(): Program {
    return this.windows[this.clock.best].program;
  }

  get bytes(): number {
    return this.windows.reduce((sum, { tensors }) => sum + totalBytes(tensors), this.accepted.byteLength);
  }

  get activationBytes(): number {
    return this.windows.reduce((sum, { program }) => sum + program.memory.arenaBytes, 0);
  }

  begin(request: DecodeRequest, prompts: readonly ArrayLike<number>[]): void {
    // Refuses settings before anything is written.
    packSamplerState(request.sequences.map(({ sampling }) => sampling));
    const { sequences, capacity } = this.parts.state;
    const width = acceptedHead.length + capacity;
    const accepted = new Uint32Array(sequences * width);
    for (let row = 0; row < sequences; row++) {
      accepted[row * width + acceptedHead.limit] = request.newTokens;
      accepted[row * width + acceptedHead.period] = request.draftPeriod ?? 0;
    }
    this.accepted.write(accepted);
    this.prompts = prompts;
  }

  async *run(request: DecodeRequest): AsyncGenerator<DecodedBlock, void, undefined> {
    const { newTokens, signal, blockSteps = defaultBlockSteps } = request;
    const { sequences, capacity } = this.parts.state;
    const width = acceptedHead.length + capacity;
    let progress: Progress = Array.from({ length: sequences }, () => []);
    let [told, chosen] = [0, -1];
    while (told < newTokens) {
      const next = this.clock.next();
      if (next !== chosen) this.place(this.windows[next], request, progress);
      chosen = next;
      const { window, program } = this.windows[chosen];
      // As many steps as bring a block at best: more would be read late, fewer would wait for the host.
      const steps = Math.max(2, Math.ceil(Math.min(blockSteps, newTokens - told) / window));
      const start = performance.now();
      for (let step = 0; step < steps; step++) program.run();
      const words = await this.reader.request();
      throwIfAborted(signal, 'decode');
      const before = progress.reduce((sum, ids) => sum + ids.length, 0);
      progress = Array.from({ length: sequences }, (_, row) => {
        const done = words[row * width + acceptedHead.done];
        const first = row * width + acceptedHead.length;
        return Array.from(words.subarray(first, first + done));
      });
      const gained = progress.reduce((sum, ids) => sum + ids.length, 0) - before;
      this.clock.record(chosen, gained, (performance.now() - start) / 1000);
      const certain = Math.min(...progress.map((ids) => ids.length));
      if (certain === told) continue;
      const firstStep = told;
      told = certain;
      yield { firstStep, ids: progress.map((ids) => Uint32Array.from(ids.slice(firstStep, told))) };
      throwIfAborted(signal, 'decode');
    }
  }

  /** Places a window behind the ids that every sequence has, with guesses for drafts. */
  private place({ window, tensors }: WindowProgram, request: DecodeRequest, progress: Progress): void {
    const { sequences, rows } = this.parts.state;
    const inputs = new Uint32Array(rows * window);
    const positions = new Uint32Array(rows * window);
    const begins = Uint32Array.from(
      this.prompts,
      (prompt, row) => prompt.length - 1 + progress[row % sequences].length,
    );
    for (let row = 0; row < rows; row++) {
      const { allowed } = request.sequences[row % sequences];
      const prompt = this.prompts[row];
      const ids = progress[row % sequences];
      const drafts = [ids.length > 0 ? ids[ids.length - 1] : prompt[prompt.length - 1]];
      while (drafts.length < window) {
        const step = ids.length + drafts.length - 1;
        drafts.push(guess(allowed, step, ids[step - (request.draftPeriod ?? 0)] ?? drafts[drafts.length - 1]));
      }
      drafts.forEach((id, place) => {
        inputs[row * window + place] = id;
        positions[row * window + place] = begins[row] + place;
      });
    }
    const sampler = packSamplerState(
      request.sequences.flatMap(({ sampling, prompt }, row) =>
        Array.from({ length: window }, (_, place) => ({
          ...sampling,
          position: prompt.length + progress[row].length + place,
        })),
      ),
    );
    for (let place = 0; place < sequences * window; place++) {
      const step = progress[Math.floor(place / window)].length + (place % window);
      sampler[place * samplerStateLength + samplerStateIndex.step] = step;
    }
    tensors.inputs.write(inputs);
    tensors.positions.write(positions);
    tensors.rowPositions.write(begins);
    tensors.sampler.write(sampler);
  }

  settle(): Promise<void> {
    return this.reader.settle();
  }

  destroy(): void {
    for (const window of this.windows) destroyWindow(window);
    this.reader.destroy();
    this.accepted.destroy();
  }
}

/** The id given, where it is allowed at a step. */
function guess(allowed: readonly AllowedRange[] | undefined, step: number, id: number): number {
  if (allowed === undefined) return id;
  const [first, end] = allowed[Math.min(step, allowed.length - 1)];
  return id >= first && id < end ? id : first;
}

function windowTensors(
  device: Device,
  window: number,
  { sequences, rows }: { sequences: number; rows: number },
): WindowTensors {
  const create = (size: readonly number[], label: string): GpuTensor =>
    GpuTensor.create(device, size, 'u32', `${label} of windows of ${window}`);
  return {
    inputs: create([rows * window], 'drafts'),
    positions: create([rows * window], 'positions'),
    rowPositions: create([rows], 'begins'),
    sampler: create([sequences * window, samplerStateLength], 'sampler state'),
    drawn: create([sequences * window], 'drawn ids'),
    unused: create([sequences * window, 1], 'unused ids'),
  };
}

async function createWindow(parts: DecodeParts, accepted: GpuTensor, window: number): Promise<WindowProgram> {
  const tensors = windowTensors(parts.device, window, parts.state);
  try {
    return { window, tensors, program: await compileWindow(parts, tensors, accepted, window) };
  } catch (error) {
    destroyTensors(tensors);
    throw error;
  }
}

function destroyWindow({ program, tensors }: WindowProgram): void {
  program.destroy();
  destroyTensors(tensors);
}

/** A window of every row: the layers over all its places at once, a draw behind each, and what follows for the next step. */
async function compileWindow(
  parts: DecodeParts,
  tensors: WindowTensors,
  accepted: GpuTensor,
  window: number,
): Promise<Program> {
  const { device, cache } = parts;
  const graph = new Graph(device.traits);
  const ids = graph.bind(tensors.inputs);
  const positions = graph.bind(tensors.positions);
  const rowPositions = graph.bind(tensors.rowPositions);
  const sampler = graph.bind(tensors.sampler);
  const drawn = graph.bind(tensors.drawn);
  const sampled = graph.bind(tensors.unused);
  const { ranges } = predictTokens(graph, parts, { ids, positions, rowPositions, sampler, sampled, drawn });
  acceptDrafts(graph, {
    drawn,
    ranges,
    inputs: ids,
    positions,
    rowPositions,
    state: sampler,
    accepted: graph.bind(accepted),
  });
  return Program.compile(device, graph, {
    label: `decode step of ${cache.rows} rows of ${window} tokens`,
    onCompile: parts.onCompile,
  });
}
