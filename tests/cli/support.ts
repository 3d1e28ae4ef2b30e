import { join } from 'node:path';
import { Readable } from 'node:stream';
import { initialTransformerTensor, initialVisionTensor } from '../../demos/nano/train/initialise.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { runCli } from '../../demos/cli/program.js';
import type { Terminal } from '../../demos/cli/terminal.js';
import {
  replaceFile,
  transformerTensorShapes,
  visionTensorShapes,
  withoutCounters,
  writeModel,
  type Emu3Config,
  type Emu3VisionVQConfig,
  type TensorShapes,
} from '../../loader/index.node.js';
import { buildTokenizerJson } from '../../tokenizer/index.js';

export const tinyVision: Emu3VisionVQConfig = {
  codebook_size: 64,
  embed_dim: 4,
  z_channels: 4,
  double_z: false,
  in_channels: 3,
  out_channels: 3,
  temporal_downsample_factor: 4,
  ch: 32,
  ch_mult: [1, 1, 1, 1],
  num_res_blocks: 1,
  attn_resolutions: [3],
  dropout: 0,
};

async function writeNetwork(
  folder: string,
  config: object,
  shapes: TensorShapes,
  values: (name: string, shape: readonly number[]) => Float32Array,
): Promise<void> {
  const trained = [...withoutCounters(shapes)];
  await writeModel(
    folder,
    trained.map(([name, shape]) => ({ name, dtype: 'BF16', shape, values: values(name, shape) })),
  );
  await writeText(join(folder, 'config.json'), JSON.stringify(config));
}

export async function writeText(path: string, text: string): Promise<void> {
  await replaceFile(path, [new TextEncoder().encode(text)]);
}

/** A whole model with random weights, by default for pictures of 32 x 32 pixels, 4 x 4 tokens. Returns its folder. */
export async function writeTinyModel(folder: string, side = 32, contextLength = 128): Promise<string> {
  const random = new SeededRandom(5);
  await writeNetwork(
    join(folder, 'vision_tokenizer'),
    { model_type: 'Emu3VisionVQ', ...tinyVision },
    visionTensorShapes(tinyVision),
    (name, shape) => initialVisionTensor(name, shape, random),
  );
  const { json, special, vocabularySize } = buildTokenizerJson(['a tiger, noto style', '4*4 8*2'], {
    vocabularySize: 320 + tinyVision.codebook_size,
    visualCount: tinyVision.codebook_size,
  });
  const config: Emu3Config = {
    vocab_size: vocabularySize,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: contextLength,
    rms_norm_eps: 1e-5,
    rope_theta: 1e4,
    rope_scaling: null,
    attention_dropout: 0,
    initializer_range: 0.02,
    tie_word_embeddings: false,
    image_area: side * side,
    pad_token_id: special.pad,
    bos_token_id: special.bos,
    eos_token_id: special.eos,
    img_token_id: special.img,
    boi_token_id: special.boi,
    eoi_token_id: special.eoi,
    eol_token_id: special.eol,
    eof_token_id: special.eof,
  };
  await writeNetwork(folder, { model_type: 'Emu3', ...config }, transformerTensorShapes(config), (name, shape) =>
    initialTransformerTensor(name, shape, config.num_hidden_layers, random),
  );
  await writeText(join(folder, 'tokenizer.json'), JSON.stringify(json));
  return folder;
}

export interface CliResult {
  code: number;
  out: string;
  err: string;
}

/** Runs a command line in this process, without progress bars. `typed` is what comes through a pipe on stdin, or a stdin of its own. */
export async function cli(
  args: readonly string[],
  signal?: AbortSignal,
  typed: string | Terminal['input'] = '',
): Promise<CliResult> {
  const result = { out: '', err: '' };
  const code = await runCli(args, {
    out: (text) => (result.out += text),
    err: (text) => (result.err += text),
    input: typeof typed === 'string' ? Readable.from([typed]) : typed,
    progress: undefined,
    signal: signal ?? new AbortController().signal,
  });
  return { code, ...result };
}
