import { advanceCounters } from '../../kernels/advance/index.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import {
  bindWeights,
  languageHead,
  transformerForward,
  type ModelWeights,
  type TransformerConfig,
} from '../models/transformer/index.js';
import { guideLogits, sampleTokens } from '../ops/sampling.js';
import type { GpuTensor } from '../tensor.js';
import type { KeyValueCache } from './cache.js';
import type { DecodeState } from './state.js';

/** Consecutive ids that have logits. */
export interface IdSlice {
  readonly first: number;
  readonly count: number;
}

/** What both programs are made from. */
export interface DecodeParts {
  readonly device: Device;
  readonly config: TransformerConfig;
  readonly weights: ModelWeights;
  readonly cache: KeyValueCache;
  readonly state: DecodeState;
  readonly onCompile?: ((done: number, total: number) => void) | undefined;
}

/** Takes a chunk of every row's prompt into the cache. Nothing is predicted, so it has no head. */
export async function compilePrefill(parts: DecodeParts): Promise<Program> {
  const { device, config, cache, state } = parts;
  const graph = new Graph(device.traits);
  const rows = {
    ids: graph.bind(state.chunkIds),
    positions: graph.bind(state.chunkPositions),
    rotaryTable: graph.bind(state.rotaryTable),
  };
  const attend = cache.attend(graph, {
    start: graph.bind(state.start),
    position: graph.bind(state.chunkPosition),
  });
  transformerForward(graph, config, bindWeights(graph, parts.weights), rows, attend);
  return Program.compile(device, graph, { label: `prefill ${cache.rows}x${state.chunk}`, onCompile: parts.onCompile });
}

/**
 * One token of every row: embedding of the id the last step wrote, the layers over the cache, the head's rows of `slice`,
 * guidance, the sampler, and all positions one further. It reads and writes its whole state on the GPU, so a picture is
 * this program again and again.
 */
export async function compileStep(
  parts: DecodeParts,
  slice: IdSlice,
): Promise<{ program: Program; logits: GpuTensor }> {
  const { device, config, cache, state } = parts;
  const graph = new Graph(device.traits);
  const rows = {
    ids: graph.bind(state.ids),
    positions: graph.bind(state.positions),
    rotaryTable: graph.bind(state.rotaryTable),
  };
  const attend = cache.attend(graph, { start: graph.bind(state.start), position: rows.positions });
  const weights = bindWeights(graph, parts.weights);
  const { hidden } = transformerForward(graph, config, weights, rows, attend);
  const logits = languageHead(config, weights, hidden, slice);
  const sampler = graph.bind(state.sampler);
  const chosenFrom = cache.rows === state.sequences ? logits : guideLogits(graph, logits, sampler);
  const tensors = {
    logits: chosenFrom,
    ranges: graph.bind(state.ranges),
    state: sampler,
    ids: graph.bind(state.sampled),
    nextInputs: rows.ids,
  };
  sampleTokens(graph, tensors, slice.first + slice.count - logits.shape[1]);
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
