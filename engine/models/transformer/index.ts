export { attentionHeadDimension, headDimension, type TransformerConfig } from './config.js';
export {
  attendSequences,
  languageHead,
  transformerForward,
  transformerRotaryTable,
  type Attend,
  type ForwardOptions,
  type ParameterLookup,
  type TokenRows,
  type TransformerActivations,
} from './forward.js';
export { SequenceScorer, type SequenceActivations, type SequenceScores, type TokenBatch } from './logits.js';
