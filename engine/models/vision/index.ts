export type { VisionContext } from './blocks.js';
export { spatialFactor, type VisionConfig } from './config.js';
export { decode } from './decoder.js';
export { encode, type EncoderResult } from './encoder.js';
export { VisionTokenizer, type CodeClip, type EncodedClip, type PixelClip } from './tokenizer.js';
export { VisionWeights, isStatistic } from './weights.js';
