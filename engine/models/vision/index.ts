export type { VisionConfig } from './config.js';
export { VisionTokenizer, type CodeClip, type EncodedClip, type PixelClip } from './tokenizer.js';
export { VisionWeights, isStatistic } from './weights.js';
