import type { SpecialTokens } from '../../tokenizer/index.js';
import { same, type Check } from './checks.js';
import type { GoldenCase } from './case.js';
import type { Recording } from './recording.js';

/** Special ids of a recorded toy vocabulary. */
export interface RecordedTokens {
  pad: number;
  bos: number;
  eos: number;
  eol: number;
  eof: number;
  img: number;
  boi: number;
  eoi: number;
  vis_start: number;
  vis_end: number;
  n_visual: number;
}

export function specialTokens(tokens: RecordedTokens): SpecialTokens {
  const { pad, bos, eos, eol, eof, img, boi, eoi } = tokens;
  return { pad, bos, eos, eol, eof, img, boi, eoi, visualStart: tokens.vis_start, visualCount: tokens.n_visual };
}

/** The case of a model's tokens.json: the loaded config must name the same ids. */
export async function tokenCases(recording: Recording, folder: string): Promise<GoldenCase[]> {
  const path = `${folder}/tokens.json`;
  if (!recording.has(path)) return [];
  recording.claim(path);
  const tokens = await recording.json<RecordedTokens>(path);
  return [
    {
      name: `${folder}/tokens`,
      run: async (bench): Promise<Check[]> => {
        const { config } = await bench.transformer(folder);
        const { pad, bos, eos, eol, eof, img, boi, eoi } = specialTokens(tokens);
        const ours = {
          pad: config.pad_token_id,
          bos: config.bos_token_id,
          eos: config.eos_token_id,
          eol: config.eol_token_id,
          eof: config.eof_token_id,
          img: config.img_token_id,
          boi: config.boi_token_id,
          eoi: config.eoi_token_id,
        };
        return [
          same('special ids of the config', ours, { pad, bos, eos, eol, eof, img, boi, eoi }),
          same('visual ids', tokens.vis_end - tokens.vis_start + 1, tokens.n_visual),
        ];
      },
    },
  ];
}
