import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createNodeEmu3, nodeImageCodec } from '../../node.js';
import { writeModelFolder } from './model-folder.js';

let path: string;

beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), 'emu3-model-'));
  await writeModelFolder(path);
});

afterAll(async () => {
  await rm(path, { recursive: true });
});

it('draws a PNG from a folder on disk', async () => {
  const { emu3, close } = await createNodeEmu3(path);
  const { image } = await emu3.generate({ prompt: 'a red circle', seed: 1 });
  await close();
  const png = await nodeImageCodec.encodePng(image.rgb, image.width, image.height);
  expect(await nodeImageCodec.decodeImage(png)).toEqual(image);
});

it('names what is missing, and leaves no device behind', async () => {
  await expect(createNodeEmu3(join(path, 'elsewhere'))).rejects.toMatchObject({ name: 'Emu3Error', code: 'missing' });
  await expect(createNodeEmu3(path, { visionPath: path })).rejects.toMatchObject({ name: 'Emu3Error' });
  const adaptersPath = join(path, 'elsewhere');
  await expect(createNodeEmu3(path, { adaptersPath })).rejects.toThrow(/elsewhere.*adapter_config\.json/);
});
