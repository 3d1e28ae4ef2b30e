import { advanceCounters } from '../../../kernels/advance/index.js';
import { noPlace, staggeredStage } from '../../../kernels/staggered/index.js';
import type { Device } from '../../device.js';
import { Graph, Program } from '../../graph/index.js';
import { packSamplerState, samplerStateLength } from '../../ops/sampling.js';
import { destroyTensors, GpuTensor, totalBytes } from '../../tensor.js';
import { BlockReader } from '../readback.js';
import type { DecodeRequest } from '../request.js';
import { runInBlocks } from './blocks.js';
import { predictTokens } from './predict.js';
import { certainAfter, checkLines, staggeredSchedule, type Schedule } from './schedule.js';
import type { DecodedBlock, DecodeParts, Stepper } from './stepper.js';

/** What a step reads and leaves behind for the next, in GPU memory. */
interface LaneTensors {
  /** u32 [sequences, capacity, 1 + lanes]. */
  readonly schedule: GpuTensor;
  /** u32 [1]: the step. */
  readonly counter: GpuTensor;
  /** u32 [sequences, capacity]: ids drawn or forced. */
  readonly ids: GpuTensor;
  /** u32 [rows, 2]: id and position of each prompt's last token. */
  readonly ends: GpuTensor;
  /** u32 [rows * lanes]. */
  readonly inputs: GpuTensor;
  /** u32 [rows * lanes]: rotary positions. */
  readonly positions: GpuTensor;
  /** u32 [rows]: where a step's tokens begin in the cache. */
  readonly rowPositions: GpuTensor;
  /** u32 [sequences * lanes, 8]. */
  readonly sampler: GpuTensor;
  /** u32 [sequences * lanes]: what the sampler would read next. */
  readonly unused: GpuTensor;
}

/**
 * Several lines of a picture at once, each a stagger behind the one above: fewer steps, and a token does not see the ends of
 * the lines above it, so the ids are not those of raster order. The cache holds tokens in the order they are read.
 */
export class StaggeredStepper implements Stepper {
  readonly program: Program;
  private readonly parts: DecodeParts;
  private readonly lanes: number;
  private readonly tensors: LaneTensors;
  private readonly reader: BlockReader;
  private schedule: Schedule = [];

  private constructor(parts: DecodeParts, lanes: number, tensors: LaneTensors, program: Program) {
    this.parts = parts;
    this.lanes = lanes;
    this.tensors = tensors;
    this.program = program;
    this.reader = new BlockReader(parts.device, tensors.ids);
  }

  static async create(parts: DecodeParts, lanes: number): Promise<StaggeredStepper> {
    const tensors = laneTensors(parts.device, lanes, parts.state);
    try {
      return new StaggeredStepper(parts, lanes, tensors, await compileLanes(parts, tensors));
    } catch (error) {
      destroyTensors(tensors);
      throw error;
    }
  }

  get bytes(): number {
    return totalBytes(this.tensors);
  }

  get activationBytes(): number {
    return this.program.memory.arenaBytes;
  }

  begin(request: DecodeRequest, prompts: readonly ArrayLike<number>[]): void {
    const { lanes, tensors } = this;
    const { sequences, capacity } = this.parts.state;
    const sampler = packSamplerState(
      request.sequences.flatMap(({ sampling }) => Array.from({ length: lanes }, () => sampling)),
    );
    const lines = checkLines(request.lines, request.newTokens);
    this.schedule = staggeredSchedule(lines, request.stagger ?? Math.max(...lines), lanes);
    const table = new Uint32Array(sequences * capacity * (1 + lanes)).fill(noPlace);
    const ids = new Uint32Array(sequences * capacity);
    request.sequences.forEach(({ allowed }, sequence) => {
      let before = 0;
      this.schedule.forEach((places, step) => {
        table.set([before, ...places], (sequence * capacity + step) * (1 + lanes));
        before += places.length;
      });
      for (let place = 0; place < request.newTokens; place++) {
        const range = allowed?.[Math.min(place, allowed.length - 1)];
        if (range && range[1] - range[0] === 1) ids[sequence * capacity + place] = range[0];
      }
    });
    tensors.schedule.write(table);
    tensors.counter.write(Uint32Array.of(0));
    tensors.ids.write(ids);
    tensors.ends.write(Uint32Array.from(prompts.flatMap((prompt) => [prompt[prompt.length - 1], prompt.length - 1])));
    tensors.sampler.write(sampler);
  }

  async *run(request: DecodeRequest): AsyncGenerator<DecodedBlock, void, undefined> {
    const { capacity } = this.parts.state;
    const certain = certainAfter(this.schedule);
    let told = 0;
    for await (const { end, words } of runInBlocks(this.program, this.reader, this.schedule.length, request)) {
      const firstStep = told;
      told = certain[end - 1];
      if (told === firstStep) continue;
      yield {
        firstStep,
        ids: request.sequences.map((_, row) => words.slice(row * capacity + firstStep, row * capacity + told)),
      };
    }
  }

  settle(): Promise<void> {
    return this.reader.settle();
  }

  destroy(): void {
    this.program.destroy();
    this.reader.destroy();
    destroyTensors(this.tensors);
  }
}

function laneTensors(
  device: Device,
  lanes: number,
  { sequences, rows, capacity }: { sequences: number; rows: number; capacity: number },
): LaneTensors {
  const create = (size: readonly number[], label: string): GpuTensor =>
    GpuTensor.create(device, size, 'u32', `${label} of ${lanes} lanes`);
  return {
    schedule: create([sequences, capacity, 1 + lanes], 'schedule'),
    counter: create([1], 'step'),
    ids: create([sequences, capacity], 'ids'),
    ends: create([rows, 2], 'ends of prompts'),
    inputs: create([rows * lanes], 'next ids'),
    positions: create([rows * lanes], 'positions'),
    rowPositions: create([rows], 'begins'),
    sampler: create([sequences * lanes, samplerStateLength], 'sampler state'),
    unused: create([sequences * lanes], 'unused ids'),
  };
}

/** The lanes' places, the layers over all of them at once, and a draw for each. */
async function compileLanes(parts: DecodeParts, tensors: LaneTensors): Promise<Program> {
  const { device, cache, state } = parts;
  const graph = new Graph(device.traits);
  const bound = {
    schedule: graph.bind(tensors.schedule),
    counter: graph.bind(tensors.counter),
    ids: graph.bind(tensors.ids),
    ends: graph.bind(tensors.ends),
    inputs: graph.bind(tensors.inputs),
    positions: graph.bind(tensors.positions),
    rowPositions: graph.bind(tensors.rowPositions),
    state: graph.bind(tensors.sampler),
  };
  const { schedule, counter, ids, ends, inputs, positions, rowPositions, state: sampler } = bound;
  graph.node({
    name: 'staggered stage',
    inputs: [schedule, counter, ids, ends, sampler],
    outputs: [inputs, positions, rowPositions, sampler],
    calls: [staggeredStage(graph.traits, bound)],
  });
  const drawn = graph.bind(tensors.unused);
  predictTokens(graph, parts, { ids: inputs, positions, rowPositions, sampler, sampled: ids, drawn });
  graph.node({
    name: 'advance',
    inputs: [counter],
    outputs: [counter],
    calls: [advanceCounters(device.traits, { counters: counter })],
  });
  return Program.compile(device, graph, {
    label: `decode step of ${cache.rows} rows of ${tensors.unused.shape[0] / state.sequences} lanes`,
    onCompile: parts.onCompile,
  });
}
