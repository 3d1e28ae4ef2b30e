export {
  chooseFormats,
  isTransformerMatrix,
  QuantizedParameters,
  type FillParameters,
  type QuantizationChoice,
  type QuantizeParametersOptions,
} from './parameters.js';
export {
  quantizeWeight,
  WeightQuantizer,
  type HostWeight,
  type QuantizeOptions,
  type WeightQuantizerOptions,
} from './quantizer.js';
export {
  createQuantizedWeight,
  dequantize,
  destroyQuantizedWeight,
  quantizedBytes,
  quantizedTensors,
  readPackedWords,
  writePackedWords,
  type PackedPart,
  type QuantizationError,
  type QuantizedWeight,
} from './weight.js';
