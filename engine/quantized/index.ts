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
  type QuantizationError,
  type QuantizedWeight,
} from './weight.js';
