import { ConfigFields } from '../config/fields.js';
import { describePath, type ModelFolder } from '../folder.js';
import { parseJsonObject } from '../json.js';

/** How a model is sampled unless a request says otherwise. */
export interface GenerationDefaults {
  /** 0 takes the most probable token. */
  temperature: number;
  /** Undefined: no limit. */
  topK: number | undefined;
  topP: number;
  /** Weight of the prompt over the negative prompt; 1 is no guidance. */
  guidance: number;
  negativePrompt: string;
  /** Longest answer in tokens. */
  maxNewTokens: number;
}

/** What the released model's own example uses. */
const releasedDefaults: GenerationDefaults = {
  temperature: 1,
  topK: 2048,
  topP: 1,
  guidance: 3,
  negativePrompt: '',
  maxNewTokens: 1024,
};

const configFile = 'generation_config.json';

/**
 * Reads `generation_config.json` (the hub's fields temperature, top_k, top_p, do_sample, guidance_scale, max_new_tokens,
 * and negative_prompt); where file or field are missing, the released example's values stand.
 * @throws Emu3Error `config` naming the field, `format` for damaged JSON.
 */
export async function readGenerationDefaults(folder: ModelFolder, signal?: AbortSignal): Promise<GenerationDefaults> {
  if (!(await folder.exists(configFile, signal))) return { ...releasedDefaults };
  return parseGenerationDefaults(await folder.readText(configFile, signal), describePath(folder, configFile));
}

function parseGenerationDefaults(text: string, where: string): GenerationDefaults {
  const fields = new ConfigFields(parseJsonObject(text, where), where);
  const number = (name: string, fallback: number, valid: (value: number) => boolean, expected: string): number => {
    const value = fields.raw(name) ?? fallback;
    if (typeof value === 'number' && valid(value)) return value;
    throw fields.error(name, `must be ${expected}`);
  };
  const topK = fields.integer('top_k', releasedDefaults.topK ?? 0, 0);
  const negativePrompt = fields.raw('negative_prompt') ?? releasedDefaults.negativePrompt;
  if (typeof negativePrompt !== 'string') throw fields.error('negative_prompt', 'must be a text');
  const sampled = fields.boolean('do_sample', true);
  const temperature = number('temperature', releasedDefaults.temperature, (value) => value >= 0, 'a number from 0');
  return {
    temperature: sampled ? temperature : 0,
    topK: topK === 0 ? undefined : topK,
    topP: number('top_p', releasedDefaults.topP, (value) => value > 0 && value <= 1, 'above 0 and at most 1'),
    guidance: number('guidance_scale', releasedDefaults.guidance, (value) => value >= 0, 'a number from 0'),
    negativePrompt,
    maxNewTokens: fields.integer('max_new_tokens', releasedDefaults.maxNewTokens, 1),
  };
}
