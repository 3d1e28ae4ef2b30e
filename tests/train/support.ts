import { initialTransformerTensor } from '../../demos/nano/train/initialise.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { ParameterStore } from '../../engine/parameters.js';
import { transformerTensorShapes, type Emu3Config } from '../../loader/index.js';
import { testDevice } from '../support/gpu.js';

/** A transformer that trains in no time: 61 ids, of which 20 to 49 stand for visual tokens. */
export const tinyTransformer: Emu3Config = {
  vocab_size: 61,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 1e6,
  rope_scaling: null,
  attention_dropout: 0.1,
  initializer_range: 0.02,
  tie_word_embeddings: false,
  image_area: 4096,
  pad_token_id: 50,
  bos_token_id: 51,
  eos_token_id: 52,
  img_token_id: 53,
  boi_token_id: 54,
  eoi_token_id: 55,
  eol_token_id: 56,
  eof_token_id: 57,
};

/** Its weights as at the start of a training, the same at every call. */
export async function newStore(): Promise<ParameterStore> {
  const device = await testDevice();
  const shapes = transformerTensorShapes(tinyTransformer);
  const store = ParameterStore.create(device, shapes, { training: true });
  const random = new SeededRandom(3);
  for (const [name, shape] of shapes) {
    store.tensor(name).write(initialTransformerTensor(name, shape, tinyTransformer.num_hidden_layers, random));
  }
  return store;
}

export async function weightsOf(store: ParameterStore): Promise<Float32Array[]> {
  return Promise.all([...store.shapes.keys()].map((name) => store.tensor(name).readFloat32()));
}
