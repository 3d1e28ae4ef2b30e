import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { canonicalName, canonicalShape, portName, portShape } from '../../loader/index.js';
import { isRecord } from '../../loader/json.js';
import { GOLDEN } from './support.js';

const full: unknown = JSON.parse(readFileSync(join(GOLDEN, 'full-shapes.json'), 'utf8'));

function releasedShapes(): [string, number[]][] {
  if (!isRecord(full)) throw new Error('full-shapes.json');
  const models = [full['emu3-8b'], full['emu3-vision-tokenizer']];
  return models.flatMap((shapes) => {
    if (!isRecord(shapes)) throw new Error('full-shapes.json');
    return Object.entries(shapes).map(([name, shape]): [string, number[]] => {
      if (!Array.isArray(shape)) throw new Error(name);
      return [name, shape.map(Number)];
    });
  });
}

describe('tensor names', () => {
  const PAIRS: [original: string, port: string, later: string][] = [
    ['model.embed_tokens.weight', 'text_model.model.embed_tokens.weight', 'model.text_model.embed_tokens.weight'],
    ['lm_head.weight', 'text_model.lm_head.weight', 'lm_head.weight'],
    [
      'model.layers.31.self_attn.q_proj.weight',
      'text_model.model.layers.31.self_attn.q_proj.weight',
      'model.text_model.layers.31.self_attn.q_proj.weight',
    ],
    ['encoder.conv_in.weight', 'vqmodel.encoder.conv_in.weight', 'model.vqmodel.encoder.conv_in.weight'],
    [
      'encoder.mid.attn_1.norm.weight',
      'vqmodel.encoder.middle_block.attn_norm.weight',
      'model.vqmodel.encoder.middle_block.attn_norm.weight',
    ],
    [
      'decoder.mid.attn_1.norm.norm_layer.bias',
      'vqmodel.decoder.middle_block.attn_norm.norm_layer.bias',
      'model.vqmodel.decoder.middle_block.attn_norm.norm_layer.bias',
    ],
    [
      'decoder.mid.attn_1.proj_out.weight',
      'vqmodel.decoder.middle_block.attn_1.out_proj.weight',
      'model.vqmodel.decoder.middle_block.attn_1.out_proj.weight',
    ],
    [
      'decoder.mid.block_1.conv1.bias',
      'vqmodel.decoder.middle_block.block_1.conv1.bias',
      'model.vqmodel.decoder.middle_block.block_1.conv1.bias',
    ],
    [
      'encoder.down.3.attn.1.norm.bias',
      'vqmodel.encoder.down_block.down.3.attn_norms.1.bias',
      'model.vqmodel.encoder.down_block.down.3.attn_norms.1.bias',
    ],
    [
      'encoder.down.3.attn.1.k.bias',
      'vqmodel.encoder.down_block.down.3.attn.1.k_proj.bias',
      'model.vqmodel.encoder.down_block.down.3.attn.1.k_proj.bias',
    ],
    [
      'decoder.up.3.attn.2.norm.conv_y.weight',
      'vqmodel.decoder.up_block.up.3.attn_norms.2.conv_y.weight',
      'model.vqmodel.decoder.up_block.up.3.attn_norms.2.conv_y.weight',
    ],
    [
      'decoder.up.1.upsample.conv.weight',
      'vqmodel.decoder.up_block.up.1.upsample.conv.weight',
      'model.vqmodel.decoder.up_block.up.1.upsample.conv.weight',
    ],
    [
      'decoder.time_conv.0.conv.conv.weight',
      'vqmodel.decoder.time_conv.0.conv.conv.weight',
      'model.vqmodel.decoder.time_conv.0.conv.conv.weight',
    ],
    ['post_quant_conv.conv.weight', 'vqmodel.post_quant_conv.conv.weight', 'model.vqmodel.post_quant_conv.conv.weight'],
    ['quantize.embedding.weight', 'vqmodel.quantize.embedding.weight', 'model.vqmodel.quantize.embedding.weight'],
  ];

  test.each(PAIRS)('%s', (original, port, later) => {
    expect(portName(original)).toBe(port);
    for (const name of [original, port, later]) expect(canonicalName(name)).toBe(original);
  });

  test('every released tensor goes to the port and back, to a name of its own', () => {
    const shapes = releasedShapes();
    const ports = new Set<string>();
    for (const [name, shape] of shapes) {
      const port = portName(name);
      expect(port, name).toBeDefined();
      ports.add(port ?? '');
      expect(canonicalName(port ?? '')).toBe(name);
      expect(canonicalName(name)).toBe(name);
      expect(canonicalShape(name, portShape(name, shape))).toEqual(shape);
    }
    expect(ports.size).toBe(shapes.length);
    expect(shapes.length).toBe(291 + 495);
  });

  test('only attention projections change their shape: 7 attentions of the encoder and decoder, 4 weights each', () => {
    const squeezed = releasedShapes().filter(([name, shape]) => portShape(name, shape).length !== shape.length);
    expect(squeezed.length).toBe(7 * 4);
    expect(portShape('encoder.down.3.attn.0.q.weight', [8, 8, 1, 1])).toEqual([8, 8]);
    expect(portShape('encoder.down.1.block.0.nin_shortcut.weight', [8, 4, 1, 1])).toEqual([8, 4, 1, 1]);
  });

  test('names that Emu3 does not have stay as they are', () => {
    for (const name of ['surprise', 'vqmodel', 'vqmodel.other.weight', 'text_model.head', '']) {
      expect(canonicalName(name)).toBe(name);
      expect(portName(name)).toBeUndefined();
    }
  });
});
