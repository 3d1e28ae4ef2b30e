import { advanceCounters } from '../../../kernels/advance/index.js';
import { Graph, Program } from '../../graph/index.js';
import { packSamplerState, samplerStateLength } from '../../ops/sampling.js';
import { destroyTensors, GpuTensor, totalBytes } from '../../tensor.js';
import { BlockReader } from '../readback.js';
import type { DecodeRequest } from '../request.js';
import { runInBlocks } from './blocks.js';
import { predictTokens } from './predict.js';
import type { DecodedBlock, DecodeParts, Stepper } from './stepper.js';

/** What a step reads and leaves behind for the next, in GPU memory. */
interface StepTensors {
  /** u32 [rows]: the token each row reads next. */
  readonly ids: GpuTensor;
  /** u32 [rows]: where that token stands. */
  readonly positions: GpuTensor;
  /** u32 [sequences, 8]: seed, settings and counters of the sampler. */
  readonly sampler: GpuTensor;
  /** u32 [sequences, capacity]: what was sampled at each step. */
  readonly sampled: GpuTensor;
}

/**
 * One token of every sequence a step. The host only reads ids back in blocks, one block behind, so that it is never waited
 * for.
 */
export class SequentialStepper implements Stepper {
  readonly program: Program;
  readonly lastLogits: GpuTensor;
  private readonly parts: DecodeParts;
  private readonly tensors: StepTensors;
  private readonly reader: BlockReader;

  private constructor(parts: DecodeParts, tensors: StepTensors, program: Program, logits: GpuTensor) {
    this.parts = parts;
    this.tensors = tensors;
    this.program = program;
    this.lastLogits = logits;
    this.reader = new BlockReader(parts.device, tensors.sampled);
  }

  static async create(parts: DecodeParts): Promise<SequentialStepper> {
    const { device, state } = parts;
    const { sequences, rows, capacity } = state;
    const create = (size: readonly number[], label: string): GpuTensor => GpuTensor.create(device, size, 'u32', label);
    const tensors: StepTensors = {
      ids: create([rows], 'next ids'),
      positions: create([rows], 'positions'),
      sampler: create([sequences, samplerStateLength], 'sampler state'),
      sampled: create([sequences, capacity], 'sampled ids'),
    };
    try {
      const { program, logits } = await compileStep(parts, tensors);
      return new SequentialStepper(parts, tensors, program, logits);
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

  begin({ sequences }: DecodeRequest, prompts: readonly ArrayLike<number>[]): void {
    const { ids, positions, sampler } = this.tensors;
    const packed = packSamplerState(
      sequences.map(({ sampling, prompt }) => ({ ...sampling, position: prompt.length })),
    );
    sampler.write(packed);
    // A prompt's last token is read by the first step, which predicts from it.
    ids.write(Uint32Array.from(prompts, (prompt) => prompt[prompt.length - 1]));
    positions.write(Uint32Array.from(prompts, (prompt) => prompt.length - 1));
  }

  async *run(request: DecodeRequest): AsyncGenerator<DecodedBlock, void, undefined> {
    const { capacity } = this.parts.state;
    let firstStep = 0;
    for await (const { end, words } of runInBlocks(this.program, this.reader, request.newTokens, request)) {
      const begin = firstStep;
      firstStep = end;
      yield {
        firstStep: begin,
        ids: request.sequences.map((_, row) => words.slice(row * capacity + begin, row * capacity + end)),
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

/**
 * One token of every row, and all positions one further. It reads and writes its whole state on the GPU, so a picture is
 * this program again and again.
 */
async function compileStep(parts: DecodeParts, tensors: StepTensors): Promise<{ program: Program; logits: GpuTensor }> {
  const { device, cache } = parts;
  const graph = new Graph(device.traits);
  const ids = graph.bind(tensors.ids);
  const positions = graph.bind(tensors.positions);
  const { logits } = predictTokens(graph, parts, {
    ids,
    positions,
    rowPositions: positions,
    sampler: graph.bind(tensors.sampler),
    sampled: graph.bind(tensors.sampled),
    drawn: ids,
  });
  graph.node({
    name: 'advance',
    inputs: [positions],
    outputs: [positions],
    calls: [advanceCounters(device.traits, { counters: positions })],
  });
  const program = await Program.compile(device, graph, {
    label: `decode step of ${cache.rows} rows`,
    outputs: [logits],
    onCompile: parts.onCompile,
  });
  return { program, logits: program.output(logits) };
}
