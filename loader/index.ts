/** Models in and out, for browsers and Node alike: safetensors, configs, names, training checkpoints. */
export { blobSource, memorySource } from './source.js';
export type { ByteSource } from './source.js';
export { openHttpSource } from './http/source.js';
export type { HttpSourceOptions } from './http/source.js';
export type { HttpOptions, HttpRetry } from './http/request.js';
export { memoryFolder, urlFolder } from './folder.js';
export type { ModelFolder } from './folder.js';
export { readAhead } from './read-ahead.js';
export type { JsonValue } from './json.js';
export type { Dtype, TensorValues, WritableDtype } from './safetensors/dtype.js';
export { parseHeader, readHeader } from './safetensors/header.js';
export type { SafetensorsHeader, TensorInfo } from './safetensors/header.js';
export { SafetensorsFile, assertFinite } from './safetensors/reader.js';
export type { FloatReadOptions, ReadOptions, TensorTile } from './safetensors/reader.js';
export { openCheckpoint } from './safetensors/checkpoint.js';
export type { Checkpoint, OpenOptions } from './safetensors/checkpoint.js';
export { encodeSafetensors } from './safetensors/writer.js';
export type { TensorToWrite, WriteOptions } from './safetensors/writer.js';
export { canonicalName, canonicalShape, portName, portShape } from './names.js';
export { parseTransformerConfig } from './config/transformer.js';
export type { Emu3Config, RopeScaling } from './config/transformer.js';
export { parseVisionConfig } from './config/vision.js';
export type { Emu3VisionVQConfig } from './config/vision.js';
export { transformerTensorShapes, visionTensorShapes, withoutCounters } from './config/shapes.js';
export type { TensorShapes } from './config/shapes.js';
export { compareShapes, validateShapes } from './config/validate.js';
export type { ShapeReport } from './config/validate.js';
export { canonicalCheckpoint, openTransformer, openVisionTokenizer } from './model.js';
export type { OpenedModel } from './model.js';
export { loadQuantizedTransformer, loadTransformer, loadVisionTokenizer } from './load-model.js';
export type {
  LoadedQuantizedTransformer,
  LoadedTransformer,
  LoadedVisionTokenizer,
  LoadOptions,
  LoadQuantizedOptions,
} from './load-model.js';
export type { LoadProgress, TransferOptions } from './transfer.js';
export type { PreferenceSample, PreferenceSamples } from './preferences/sample.js';
export { choosePairs } from './preferences/vote.js';
export type { Vote, VotedPair } from './preferences/vote.js';
export { loadAdapters } from './adapters.js';
export type { LoadedAdapters } from './adapters.js';
export { adapterConfigJson, parseAdapterConfig } from './config/adapter.js';
export type { AdapterConfig } from './config/adapter.js';
export { averagedTensors } from './average.js';
export { mergedTensors, storeTensors } from './export.js';
export { privateFileCache } from './cache/private-files.js';
export type { CacheEntry, CacheStore } from './cache/store.js';
export type { CacheOutcome } from './cache/through.js';
export { readTrainingCheckpoint } from './checkpoint.js';
export type { HostTensor, TrainerState, TrainingCheckpoint } from './checkpoint.js';
