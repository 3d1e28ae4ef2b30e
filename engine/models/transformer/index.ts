export { attentionHeadDimension, headDimension, type TransformerConfig } from './config.js';
export {
  attendSequences,
  languageHead,
  transformerForward,
  transformerRotaryTable,
  type Attend,
  type ForwardOptions,
  type TokenRows,
  type TransformerActivations,
} from './forward.js';
export { inferenceHead, transformerInference } from './inference.js';
export { SequenceScorer, type SequenceActivations, type SequenceScores, type TokenBatch } from './logits.js';
export {
  bindWeights,
  plainWeights,
  type ModelWeights,
  type TransformerWeights,
  type WeightBinding,
} from './weights.js';
export { withAdapters } from './adapters/adapted.js';
export {
  LoraAdapters,
  loraTargets,
  loraTensorShapes,
  type LoraOptions,
  type LoraPair,
  type LoraTarget,
} from './adapters/lora.js';
export { checkAdapters, mergeAdapter, mergeAdapters } from './adapters/merge.js';
