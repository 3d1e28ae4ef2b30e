import { Emu3Error, throwIfAborted } from '../../../kernels/core/errors.js';
import type { Device } from '../../device.js';
import { Graph, Program, type Tensor } from '../../graph/index.js';
import { GpuTensor } from '../../tensor.js';
import type { TransformerConfig } from './config.js';
import { attendSequences, languageHead, transformerForward, transformerRotaryTable } from './forward.js';
import { bindWeights, type ModelWeights } from './weights.js';

/** `batch` sequences of `length` tokens, flattened row by row. */
export interface TokenBatch {
  readonly ids: ArrayLike<number>;
  /** Tokens of padding in front of each sequence, [batch]: they are attended to by nothing. Default none. */
  readonly leftPadding?: ArrayLike<number>;
  /** Rotary position of each token, [batch * length], below `length`. Default: counted from the first real token. */
  readonly positions?: ArrayLike<number>;
}

export interface SequenceScores {
  /** [batch, length, vocab_size], before the softmax. Those of padding mean nothing. */
  readonly logits: Float32Array;
}

/** [batch, length, hidden_size] each. */
export interface SequenceActivations {
  /** Token embeddings. */
  readonly embeddings: Float32Array;
  /** Output of each layer. */
  readonly layers: readonly Float32Array[];
  /** After the final norm. */
  readonly hidden: Float32Array;
}

/**
 * Scores whole sequences: one forward pass over every position at once, without a cache. For evaluation,
 * log-probabilities and comparison with other implementations; generation steps through a cache instead.
 */
export class SequenceScorer {
  readonly batch: number;
  readonly length: number;
  private readonly config: TransformerConfig;
  private readonly program: Program;
  private readonly inputs: { ids: GpuTensor; positions: GpuTensor; start: GpuTensor; rotaryTable: GpuTensor };
  private readonly outputs: { logits: Tensor; embeddings: Tensor; layers: readonly Tensor[]; hidden: Tensor };

  private constructor(
    config: TransformerConfig,
    shape: { batch: number; length: number },
    program: Program,
    inputs: SequenceScorer['inputs'],
    outputs: SequenceScorer['outputs'],
  ) {
    this.config = config;
    this.batch = shape.batch;
    this.length = shape.length;
    this.program = program;
    this.inputs = inputs;
    this.outputs = outputs;
  }

  /** Compiles the forward pass for one shape. Dynamic rotary scaling goes by `length`, padding included. */
  static async create(
    device: Device,
    config: TransformerConfig,
    weights: ModelWeights,
    shape: { batch: number; length: number },
  ): Promise<SequenceScorer> {
    const { batch, length } = shape;
    const rows = [batch * length];
    const table = transformerRotaryTable(config, length);
    const inputs = {
      ids: GpuTensor.create(device, rows, 'u32', 'ids'),
      positions: GpuTensor.create(device, rows, 'u32', 'positions'),
      start: GpuTensor.create(device, rows, 'u32', 'start'),
      rotaryTable: GpuTensor.from(device, [length, table.length / length], 'f32', table, 'rotary table'),
    };
    const graph = new Graph(device.traits);
    const bound = bindWeights(graph, weights);
    const attend = attendSequences(graph, config, { batch, length, start: graph.bind(inputs.start) });
    const tokens = {
      ids: graph.bind(inputs.ids),
      positions: graph.bind(inputs.positions),
      rotaryTable: graph.bind(inputs.rotaryTable),
    };
    const { embeddings, layers, hidden } = transformerForward(graph, config, bound, tokens, attend);
    const logits = languageHead(config, bound, hidden);
    const program = await Program.compile(device, graph, {
      label: `transformer ${batch}x${length}`,
      outputs: [logits, embeddings, ...layers, hidden],
    });
    return new SequenceScorer(config, shape, program, inputs, { logits, embeddings, layers, hidden });
  }

  /**
   * @throws Emu3Error `shape` when the number of ids, paddings or positions does not fit, `token` for an id outside the
   *   vocabulary, `argument` for a position or padding outside the sequence.
   */
  async score(tokens: TokenBatch, signal?: AbortSignal): Promise<SequenceScores> {
    throwIfAborted(signal, 'score');
    this.write(tokens);
    this.program.run();
    return { logits: await this.program.output(this.outputs.logits).readFloat32() };
  }

  /** Hidden states of the last {@link score}. */
  async activations(): Promise<SequenceActivations> {
    const read = (tensor: Tensor): Promise<Float32Array> => this.program.output(tensor).readFloat32();
    const { embeddings, layers, hidden } = this.outputs;
    return {
      embeddings: await read(embeddings),
      layers: await Promise.all(layers.map(read)),
      hidden: await read(hidden),
    };
  }

  private write({ ids, leftPadding, positions }: TokenBatch): void {
    const { batch, length } = this;
    const count = batch * length;
    const fail = (code: 'shape' | 'token' | 'argument', message: string, fix: string): never => {
      throw new Emu3Error(message, { code, where: 'sequences to score', fix });
    };
    if (ids.length !== count || (positions ?? ids).length !== count || (leftPadding?.length ?? batch) !== batch) {
      fail('shape', `The tokens are not ${batch} x ${length}.`, 'Give the shape the scorer was made for.');
    }
    const idValues = Uint32Array.from(ids);
    const start = new Uint32Array(count);
    const positionValues = new Uint32Array(count);
    for (let row = 0; row < batch; row++) {
      const padding = leftPadding?.[row] ?? 0;
      if (!(padding >= 0 && padding < length)) {
        fail('argument', `Row ${row} has ${padding} tokens of padding.`, `Give 0 to ${length - 1}.`);
      }
      for (let index = 0; index < length; index++) {
        const at = row * length + index;
        if (!(ids[at] >= 0 && ids[at] < this.config.vocab_size)) {
          fail('token', `Id ${ids[at]} is outside the vocabulary.`, `Give ids below ${this.config.vocab_size}.`);
        }
        const position = positions?.[at] ?? Math.max(0, index - padding);
        if (!(position >= 0 && position < length)) {
          fail('argument', `Position ${position} is outside the sequence.`, `Give positions below ${length}.`);
        }
        start[at] = padding;
        positionValues[at] = position;
      }
    }
    this.inputs.ids.write(idValues);
    this.inputs.start.write(start);
    this.inputs.positions.write(positionValues);
  }

  destroy(): void {
    this.program.destroy();
    for (const tensor of Object.values(this.inputs)) tensor.destroy();
  }
}
