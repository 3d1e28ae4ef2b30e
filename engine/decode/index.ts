export { Decoder, type DecodedBlock, type DecoderOptions } from './decoder.js';
export type { IdSlice } from './programs.js';
export { contextLength, type DecodeRequest, type DecodeSequence } from './request.js';
export type { AllowedRange, SamplerOptions } from '../ops/sampling.js';
