/** The parts of a model folder, found where the hub puts them. */
import { Emu3Error } from '../../kernels/core/errors.js';
import {
  defaultPixelLimits,
  textTokenizerFromJson,
  textTokenizerFromTiktoken,
  type PixelLimits,
  type SpecialRole,
  type TextTokenizer,
} from '../../tokenizer/index.js';
import { ConfigFields } from '../config/fields.js';
import type { Emu3Config } from '../config/transformer.js';
import { describePath, subfolder, type ModelFolder } from '../folder.js';
import { isRecord, parseJsonObject } from '../json.js';

const visionSubfolder = 'vision_tokenizer';
const preprocessorFile = 'preprocessor_config.json';

/**
 * The vision tokenizer of a model folder: its subfolder `vision_tokenizer`, or the folder itself in the Transformers
 * port's layout, which keeps both networks in one checkpoint.
 * @throws Emu3Error `missing` when it has neither.
 */
export async function findVisionFolder(folder: ModelFolder, signal?: AbortSignal): Promise<ModelFolder> {
  const inside = subfolder(folder, visionSubfolder);
  if (await inside.exists('config.json', signal)) return inside;
  const config = await folder.readText('config.json', signal);
  if (isRecord(parseJsonObject(config, describePath(folder, 'config.json'))['vq_config'])) return folder;
  throw new Emu3Error('The model folder has no vision tokenizer.', {
    code: 'missing',
    where: describePath(folder, visionSubfolder),
    fix: 'Put the vision tokenizer into this subfolder, or pass its own folder.',
  });
}

/**
 * The text tokenizer of a model folder: `tokenizer.json`, else a rank file.
 * @throws Emu3Error `missing`, `format`, `io`.
 */
export async function openTextTokenizer(folder: ModelFolder, signal?: AbortSignal): Promise<TextTokenizer> {
  const json = 'tokenizer.json';
  if (await folder.exists(json, signal)) {
    return textTokenizerFromJson(await folder.readText(json, signal), { where: describePath(folder, json) });
  }
  const listed = (await folder.list?.())?.filter((name) => name.endsWith('.tiktoken')).sort();
  for (const ranks of listed ?? ['emu3.tiktoken']) {
    if (!(await folder.exists(ranks, signal))) continue;
    return textTokenizerFromTiktoken(await folder.readText(ranks, signal), { where: describePath(folder, ranks) });
  }
  throw new Emu3Error('The model folder has no text tokenizer.', {
    code: 'missing',
    where: folder.name,
    fix: 'Put a tokenizer.json or a .tiktoken rank file into it.',
  });
}

/**
 * Sizes that pictures are brought to before they become tokens: the vision folder's `preprocessor_config.json`, else the
 * released limits, else, for a model of smaller pictures, its own picture area.
 */
export async function readPixelLimits(
  visionFolder: ModelFolder,
  factor: number,
  imageArea: number,
  signal?: AbortSignal,
): Promise<PixelLimits> {
  if (await visionFolder.exists(preprocessorFile, signal)) {
    const where = describePath(visionFolder, preprocessorFile);
    const fields = new ConfigFields(
      parseJsonObject(await visionFolder.readText(preprocessorFile, signal), where),
      where,
    );
    const minPixels = fields.integer('min_pixels', defaultPixelLimits.minPixels, 1);
    return { factor, minPixels, maxPixels: fields.integer('max_pixels', defaultPixelLimits.maxPixels, minPixels) };
  }
  if (imageArea >= defaultPixelLimits.minPixels) return { ...defaultPixelLimits, factor };
  return { factor, minPixels: imageArea, maxPixels: imageArea };
}

/**
 * Refuses parts that do not belong to each other, before a weight is read.
 * @throws Emu3Error `config` naming the token or the number that differs.
 */
export function checkAgreement(
  config: Emu3Config,
  tokenizer: TextTokenizer,
  codebookSize: number,
  where: string,
): void {
  const { special, vocabularySize } = tokenizer;
  const problems: string[] = [];
  const roles: [SpecialRole, number][] = [
    ['pad', config.pad_token_id],
    ['bos', config.bos_token_id],
    ['eos', config.eos_token_id],
    ['img', config.img_token_id],
    ['boi', config.boi_token_id],
    ['eoi', config.eoi_token_id],
    ['eol', config.eol_token_id],
    ['eof', config.eof_token_id],
  ];
  for (const [role, id] of roles) {
    if (special[role] !== id) problems.push(`${role} is ${special[role]} in the tokenizer and ${id} in the config`);
  }
  if (vocabularySize > config.vocab_size) {
    problems.push(`the tokenizer has ${vocabularySize} tokens and the transformer ${config.vocab_size}`);
  }
  if (special.visualCount !== codebookSize) {
    problems.push(`the tokenizer has ${special.visualCount} visual tokens and the codebook ${codebookSize} entries`);
  }
  if (problems.length === 0) return;
  throw new Emu3Error(`The parts of the model do not fit each other: ${problems.join('; ')}.`, {
    code: 'config',
    where,
    fix: 'Use the tokenizer and the vision tokenizer that belong to this transformer.',
  });
}
