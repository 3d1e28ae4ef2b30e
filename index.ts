/** emu3-webgpu for browsers, workers and any other runtime with WebGPU; `node.ts` adds files and adapters of Node. */
export { Emu3Error, throwIfAborted } from './kernels/core/errors.js';
export type { ErrorCode, ErrorDetails } from './kernels/core/errors.js';
export type { DType, KernelTraits, Operand } from './kernels/core/types.js';

// The whole model.
export { Emu3 } from './loader/pipeline/emu3.js';
export { LastingEmu3 } from './loader/pipeline/lasting.js';
export type { LastingEmu3Options } from './loader/pipeline/lasting.js';
export { exactWindows } from './loader/pipeline/load-options.js';
export type { Emu3LoadOptions, Emu3LoadProgress } from './loader/pipeline/load-options.js';
export type { WeightFormat } from './loader/pipeline/weights.js';
export { describeBudget } from './loader/memory/budget.js';
export type { MemoryBudget } from './loader/memory/budget.js';
export { planVision } from './loader/memory/plan.js';
export type { ArenaPlan } from './loader/memory/plan.js';
export type { Answer, AnswerBatchEvents, AnswerEvents } from './loader/pipeline/answer.js';
export type {
  AnswerOptions,
  AssistantMessage,
  CaptionRequest,
  ChatBatchEvents,
  ChatMessage,
  ChatRequest,
  DescribeRequest,
  OnePicture,
  UserMessage,
} from './loader/pipeline/chat.js';
export type { PromptToRewrite } from './loader/pipeline/rewrite.js';
export { Chat } from './loader/pipeline/session.js';
export type { ChatQuestion } from './loader/pipeline/session.js';
export type {
  GeneratedImage,
  GenerateEvents,
  GenerateRequest,
  KeptCodes,
  PixelsEvent,
  RowEvent,
  SamplingOptions,
  TokenEvent,
} from './loader/pipeline/generate.js';
export type { EncodedImage } from './loader/pipeline/pixels.js';
export type { EncodedVideo, VideoCodes, VideoFrames } from './loader/pipeline/clip.js';
export type {
  VideoEvents,
  VideoFrameEvent,
  VideoPixelsEvent,
  VideoRowEvent,
  VideoTokenEvent,
} from './loader/pipeline/video-collector.js';
export type {
  DrawnVideo,
  EncodeClipOptions,
  ExtendRequest,
  GeneratedVideo,
  VideoRequest,
} from './loader/pipeline/video-request.js';
export type { VideoSettings } from './loader/pipeline/video-plan.js';
export type { EditedImage, EditRequest, PixelMask, VariationRequest } from './loader/pipeline/edit.js';
export type { GenerationDefaults } from './loader/pipeline/generation-config.js';

// The engine.
export { requestAdapterBrowser } from './engine/adapter/browser.js';
export type { AdapterChoice, AdapterKind } from './engine/adapter/types.js';
export { Device } from './engine/device.js';
export type { DeviceCounters, DeviceOptions, LimitTier } from './engine/device.js';
export { GpuTensor } from './engine/tensor.js';
export type { TensorData } from './engine/tensor.js';
export { ParameterStore } from './engine/parameters.js';
export type { ParameterStoreOptions } from './engine/parameters.js';
export type { QuantizationFormat, QuantizationSource } from './kernels/quantize/index.js';
export { quantizedLinear } from './engine/ops/quantized-linear.js';
export type { QuantizedTensors } from './engine/ops/quantized-linear.js';
export * from './engine/quantized/index.js';
export { checkpoint, gradients, Graph, Program } from './engine/graph/index.js';
export type { KernelTime, NodeSpec, ProgramOptions, RunEvents, Tensor } from './engine/graph/index.js';
export { contextLength, Decoder } from './engine/decode/index.js';
export type {
  AllowedRange,
  CacheType,
  DecodedBlock,
  DecoderOptions,
  DecodeRequest,
  DecodeSequence,
  IdSlice,
  SamplerOptions,
} from './engine/decode/index.js';
export {
  LoraAdapters,
  loraTargets,
  mergeAdapters,
  SequenceScorer,
  withAdapters,
} from './engine/models/transformer/index.js';
export type {
  LoraOptions,
  LoraPair,
  LoraTarget,
  ModelWeights,
  SequenceScores,
  TokenBatch,
  TransformerConfig,
  TransformerWeights,
  WeightBinding,
} from './engine/models/transformer/index.js';
export { VisionTokenizer, VisionWeights } from './engine/models/vision/index.js';
export type { BandLimits, ClipEvents, EncodedClip, PixelClip, VisionConfig } from './engine/models/vision/index.js';
export { runTraining } from './engine/train/loop.js';
export type { LoopOptions, StepMetrics, Trainer } from './engine/train/loop.js';
export { packDocuments } from './engine/train/packing.js';
export type { PackedBatch, SequenceShape, TokenDocument } from './engine/train/packing.js';
export { packPairs, packResponses } from './engine/train/preference.js';
export type {
  PairLayout,
  PreferenceBatch,
  PreferencePair,
  ReferencedPair,
  TokenResponse,
} from './engine/train/preference.js';
export { PreferenceTrainer } from './engine/train/preference-trainer.js';
export type { PreferenceMetrics, PreferenceTrainerOptions } from './engine/train/preference-trainer.js';
export { SequenceLogProbabilities } from './engine/train/sequence-log-probabilities.js';
export { TransformerTrainer } from './engine/train/transformer-trainer.js';
export type { TransformerTrainerOptions } from './engine/train/transformer-trainer.js';
export { VisionPartTrainer } from './engine/train/vision-part-trainer.js';
export type { VisionPart, VisionPartBatch, VisionPartTrainerOptions } from './engine/train/vision-part-trainer.js';
export { VisionTrainer } from './engine/train/vision-trainer.js';
export type { VisionTrainerOptions } from './engine/train/vision-trainer.js';

// Files, tokens and pictures.
export * from './loader/index.js';
export * from './tokenizer/index.js';
