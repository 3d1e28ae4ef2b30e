import { Graph, Program } from '../graph/index.js';
import { bindWeights, transformerInference } from '../models/transformer/index.js';
import type { DecodeParts } from './steps/stepper.js';

/** Takes a chunk of every row's prompt into the cache. Nothing is predicted, so it has no head. */
export async function compilePrefill(parts: DecodeParts): Promise<Program> {
  const { device, config, cache, state } = parts;
  const graph = new Graph(device.traits);
  const rows = {
    ids: graph.bind(state.chunkIds),
    positions: graph.bind(state.chunkPositions),
    rotaryTable: graph.bind(state.rotaryTable),
  };
  const places = {
    layers: cache.bind(graph),
    start: graph.bind(state.start),
    position: graph.bind(state.chunkPosition),
  };
  transformerInference(graph, config, bindWeights(graph, parts.weights), rows, places);
  return Program.compile(device, graph, { label: `prefill ${cache.rows}x${state.chunk}`, onCompile: parts.onCompile });
}
