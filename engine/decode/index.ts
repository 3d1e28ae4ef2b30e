export { checkWindows, Decoder, type DecoderOptions } from './decoder.js';
export type { DecodedBlock, IdSlice } from './steps/stepper.js';
export { contextLength, type DecodeRequest, type DecodeSequence } from './request.js';
export { cacheTypes, checkCacheType, type CacheType } from '../../kernels/attention/index.js';
export type { AllowedRange, SamplerOptions } from '../ops/sampling.js';
