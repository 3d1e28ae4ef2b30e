export { bandLimits, type BandLimits } from './bands.js';
export type { VisionContext } from './blocks.js';
export { spatialFactor, type VisionConfig } from './config.js';
export { decode } from './decoder.js';
export { encode, type EncoderResult } from './encoder.js';
export type { ClipEvents } from './clip-passes.js';
export { checkCodebook, type CodeClip, type EncodedClip, type PixelClip } from './clips.js';
export { VisionTokenizer } from './tokenizer.js';
export { VisionWeights, isStatistic } from './weights.js';
