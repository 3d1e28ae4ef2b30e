import { throwIfAborted } from '../../../kernels/core/errors.js';
import { advanceCounters } from '../../../kernels/advance/index.js';
import { Graph, Program } from '../../graph/index.js';
import { bindWeights, languageHead, transformerForward } from '../../models/transformer/index.js';
import { guideLogits, packSamplerState, samplerStateLength, sampleTokens } from '../../ops/sampling.js';
import { GpuTensor } from '../../tensor.js';
import { BlockReader } from '../readback.js';
import type { DecodeRequest } from '../request.js';
import { defaultBlockSteps, type DecodedBlock, type DecodeParts, type Stepper } from './stepper.js';

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
  private readonly parts: DecodeParts;
  private readonly tensors: StepTensors;
  private readonly logits: GpuTensor;
  private readonly reader: BlockReader;

  private constructor(parts: DecodeParts, tensors: StepTensors, program: Program, logits: GpuTensor) {
    this.parts = parts;
    this.tensors = tensors;
    this.program = program;
    this.logits = logits;
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
      for (const tensor of Object.values<GpuTensor>({ ...tensors })) tensor.destroy();
      throw error;
    }
  }

  get bytes(): number {
    return Object.values<GpuTensor>({ ...this.tensors }).reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  get activationBytes(): number {
    return this.program.memory.arenaBytes;
  }

  lastLogits(): Promise<Float32Array> {
    return this.logits.readFloat32();
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
    const { newTokens, sequences, signal, blockSteps = defaultBlockSteps } = request;
    const { capacity } = this.parts.state;
    let submitted = this.submit(0, Math.min(blockSteps, newTokens));
    let ahead = this.reader.request();
    for (let firstStep = 0; firstStep < newTokens;) {
      const current = ahead;
      const end = submitted;
      if (submitted < newTokens) {
        submitted = this.submit(submitted, Math.min(submitted + blockSteps, newTokens));
        ahead = this.reader.request();
      }
      const words = await current;
      throwIfAborted(signal, 'decode');
      const begin = firstStep;
      firstStep = end;
      yield {
        firstStep: begin,
        ids: sequences.map((_, row) => words.slice(row * capacity + begin, row * capacity + end)),
      };
      throwIfAborted(signal, 'decode');
    }
  }

  private submit(begin: number, end: number): number {
    for (let step = begin; step < end; step++) this.program.run();
    return end;
  }

  settle(): Promise<void> {
    return this.reader.settle();
  }

  destroy(): void {
    this.program.destroy();
    this.reader.destroy();
    for (const tensor of Object.values<GpuTensor>({ ...this.tensors })) tensor.destroy();
  }
}

/**
 * One token of every row: embedding of the id the last step wrote, the layers over the cache, the head's rows of the slice,
 * guidance, the sampler, and all positions one further. It reads and writes its whole state on the GPU, so a picture is
 * this program again and again.
 */
async function compileStep(parts: DecodeParts, tensors: StepTensors): Promise<{ program: Program; logits: GpuTensor }> {
  const { device, config, cache, state, slice } = parts;
  const graph = new Graph(device.traits);
  const rows = {
    ids: graph.bind(tensors.ids),
    positions: graph.bind(tensors.positions),
    rotaryTable: graph.bind(state.rotaryTable),
  };
  const attend = cache.attend(graph, { start: graph.bind(state.start), position: rows.positions });
  const weights = bindWeights(graph, parts.weights);
  const { hidden } = transformerForward(graph, config, weights, rows, attend);
  const logits = languageHead(config, weights, hidden, slice);
  const sampler = graph.bind(tensors.sampler);
  const chosenFrom = cache.rows === state.sequences ? logits : guideLogits(graph, logits, sampler);
  const sampling = {
    logits: chosenFrom,
    ranges: graph.bind(state.ranges),
    state: sampler,
    ids: graph.bind(tensors.sampled),
    nextInputs: rows.ids,
  };
  sampleTokens(graph, sampling, slice.first + slice.count - logits.shape[1]);
  graph.node({
    name: 'advance',
    inputs: [rows.positions],
    outputs: [rows.positions],
    calls: [advanceCounters(device.traits, { counters: rows.positions })],
  });
  const program = await Program.compile(device, graph, {
    label: `decode step of ${cache.rows} rows`,
    outputs: [logits],
    onCompile: parts.onCompile,
  });
  return { program, logits: program.output(logits) };
}
