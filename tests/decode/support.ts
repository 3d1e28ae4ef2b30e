import { Decoder, type DecodeRequest, type DecoderOptions, type AllowedRange } from '../../engine/decode/index.js';
import { ParameterStore } from '../../engine/parameters.js';
import { transformerTensorShapes } from '../../loader/config/shapes.js';
import { parseTransformerConfig, type Emu3Config } from '../../loader/config/transformer.js';
import { allowedClass, generatedLength, type Size, type SpecialTokens } from '../../tokenizer/index.js';
import { readGolden, readGoldenJson } from '../support/golden.js';
import { testDevice } from '../support/gpu.js';

interface Model {
  config: Emu3Config;
  parameters: ParameterStore;
}

let loaded: Promise<Model> | undefined;

/** The recorded language model on the test device. */
export function goldenModel(): Promise<Model> {
  loaded ??= testDevice().then((device) => {
    const config = parseTransformerConfig(JSON.stringify(readGoldenJson('lm/config.json')), 'lm/config.json');
    const parameters = ParameterStore.create(device, transformerTensorShapes(config));
    for (const [name, { data }] of Object.entries(readGolden('lm/model.safetensors'))) {
      parameters.tensor(name).write(Float32Array.from(data));
    }
    return { config, parameters };
  });
  return loaded;
}

export async function goldenDecoder(
  options: Partial<DecoderOptions> & Pick<DecoderOptions, 'sequences' | 'guided'>,
  changed: Partial<Emu3Config> = {},
): Promise<Decoder> {
  const { config, parameters } = await goldenModel();
  return Decoder.create(await testDevice(), { ...config, ...changed }, parameters, { capacity: 64, ...options });
}

interface RecordedTokens {
  pad: number;
  eol: number;
  eof: number;
  bos: number;
  eos: number;
  img: number;
  boi: number;
  eoi: number;
  vis_start: number;
  n_visual: number;
}

export function goldenTokens(): SpecialTokens {
  const { vis_start, n_visual, ...rest } = readGoldenJson('lm/tokens.json') as RecordedTokens;
  return { ...rest, visualStart: vis_start, visualCount: n_visual };
}

/** The ids of all sequences, put together from the blocks. */
export async function decodeAll(decoder: Decoder, request: DecodeRequest): Promise<number[][]> {
  const rows = request.sequences.map((): number[] => []);
  for await (const { ids } of decoder.decode(request)) ids.forEach((block, row) => rows[row].push(...block));
  return rows;
}

/** Allowed ids of a picture, step by step; padding once it has ended. */
export function pictureRanges(size: Size, tokens: SpecialTokens, steps = generatedLength(size)): AllowedRange[] {
  return Array.from({ length: steps }, (_, step) => {
    const kind = step < generatedLength(size) ? allowedClass(step + 1, size.height, size.width) : 'pad';
    if (kind === 'visual') return [tokens.visualStart, tokens.visualStart + tokens.visualCount];
    return [tokens[kind], tokens[kind] + 1];
  });
}
