/** Text, pictures and documents as token ids. Runs in browsers and Node alike; `index.node.ts` adds files. */
export * from './special.js';
export { splitPattern } from './text/split.js';
export type { BytePairEncoder, DecodeOptions, EncodeOptions, TextTokenizer } from './text/text-tokenizer.js';
export { createTextTokenizer } from './text/text-tokenizer.js';
export { textTokenizerFromTiktoken } from './text/tiktoken.js';
export { textTokenizerFromJson } from './text/tokenizer-json.js';
export type { BuildTokenizerOptions, BuiltTokenizer } from './build/tokenizer-json.js';
export { buildTokenizerJson } from './build/tokenizer-json.js';
export type { ImageCodec } from './image/codec.js';
export { browserImageCodec } from './image/codec.browser.js';
export type { PixelBatch, PixelValues, RgbImage } from './image/pixels.js';
export { cropCodes, normalise, padBatch, postprocess, prepareImage } from './image/pixels.js';
export { resizeBicubic } from './image/resize.js';
export type { PixelLimits, Size } from './image/sizes.js';
export { calculateGenerateSize, defaultPixelLimits, smartResize, trainingPrepareResize } from './image/sizes.js';
export type { IdRange, TokenClass } from './document/grammar.js';
export {
  allowedClass,
  allowedIds,
  allowedVideoClass,
  generatedLength,
  generatedVideoLength,
  latentFrameLength,
  PrefixGrammar,
} from './document/grammar.js';
export type { AssistantTurn, ConversationTurn, UserTurn } from './document/conversation.js';
export { conversationPrompt } from './document/conversation.js';
export * from './document/layouts.js';
export type { DocumentPart } from './document/parse.js';
export { parseDocumentIds, parseDocumentString } from './document/parse.js';
export type {
  ConversationRequest,
  GenerationPrompts,
  GenerationRequest,
  UnderstandingRequest,
} from './document/prompts.js';
export {
  captionPromptIds,
  conversationPromptIds,
  generationPrompts,
  understandingPromptIds,
} from './document/prompts.js';
export type { LabelRule, Sample, SampleBatch } from './document/samples.js';
export { conversationSample, ignoreIndex, labelWeights, padSamples, sampleLabels } from './document/samples.js';
export type { CodeClip, CodeGrid, DocumentVocabulary, Segment, VisionCodes } from './document/segments.js';
export { documentIds, documentString, imageSegments, videoSegments, visionSegments } from './document/segments.js';
