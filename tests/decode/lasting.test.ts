import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../../engine/device.js';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import type { TokenEvent } from '../../loader/pipeline/generate.js';
import { LastingEmu3, type LastingEmu3Options } from '../../loader/pipeline/lasting.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

const size = { height: 6, width: 4 };
const requests = [
  { prompt: 'a star', seed: 1, size },
  { prompt: 'two blue stars', seed: 2, size },
];

let undisturbed: Emu3;

beforeAll(async () => {
  undisturbed = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
});

afterAll(() => undisturbed.destroy());

/** A lasting model, and the devices it has had. */
async function lastingModel(
  options: Partial<LastingEmu3Options> = {},
): Promise<{ lasting: LastingEmu3; devices: Device[]; lost: string[]; close: () => Promise<void> }> {
  const devices: Device[] = [];
  const lost: string[] = [];
  const lasting = await LastingEmu3.load({
    folder: modelFolder(),
    onLost: ({ code }) => lost.push(code),
    ...options,
    createDevice: async () => {
      const device = await Device.create(await requestAdapterNode());
      devices.push(device);
      return device;
    },
  });
  const close = async (): Promise<void> => {
    await lasting.destroy();
    for (const device of devices) expect(device.allocatedBytes).toBe(0);
  };
  return { lasting, devices, lost, close };
}

describe('a model that outlives its device', () => {
  it.each([{}, { windows: [4] }, { stagger: 2 }] as const)(
    'draws on as if nothing had happened, telling each token once, with %o',
    async (steps) => {
      const whole = await Emu3.load({ device: await testDevice(), folder: modelFolder(), ...steps });
      const expected = await whole.generateBatch(requests);
      await whole.destroy();
      const { lasting, devices, lost, close } = await lastingModel(steps);
      const tokens: TokenEvent[] = [];
      const rows: string[] = [];
      const found = await lasting.generateBatch(requests, {
        onToken: (event) => tokens.push(event),
        onRow: ({ picture, row }) => {
          rows.push(`${picture} ${row}`);
          // Lost twice, the second time where the first loss is long past.
          if (picture === 1 && [1, 3].includes(row)) devices[devices.length - 1].gpu.destroy();
        },
      });
      expect(lost).toEqual(['device-lost', 'device-lost']);
      expect(devices).toHaveLength(3);
      for (const [index, picture] of found.entries()) {
        expect(picture.ids).toEqual(expected[index].ids);
        expect(picture.image).toEqual(expected[index].image);
        const told = tokens.filter((event) => event.picture === index);
        expect(told.map(({ step }) => step)).toEqual(Array.from(picture.ids, (_, step) => step));
        expect(told.map(({ id }) => id)).toEqual([...picture.ids]);
        expect(rows.filter((row) => row.startsWith(`${index} `))).toHaveLength(size.height);
      }
      await close();
    },
  );

  it('keeps what the request keeps, and its shape', async () => {
    const original = await undisturbed.generate({ prompt: 'a star', seed: 5, ratio: '1:1' });
    const { codes, size: grid } = original;
    const kept = Uint8Array.from(codes, (_, place) => place % 3);
    const request = { prompt: 'a moon', seed: 6, keep: { ...grid, codes, kept } };
    for (const given of [request, { prompt: 'a moon', seed: 6, ratio: '2:1' }]) {
      const expected = await undisturbed.generate(given);
      const { lasting, devices, close } = await lastingModel();
      const lose = ({ row }: { row: number }): void => {
        if (row === 0) devices[0].gpu.destroy();
      };
      expect((await lasting.generate({ ...given, onRow: lose })).ids).toEqual(expected.ids);
      await close();
    }
  });

  it('asks anything else once more, and finds a device that was lost between requests', async () => {
    const { lasting, devices, lost, close } = await lastingModel();
    const messages = [{ role: 'user', text: 'what is shown', images: [] }] as const;
    const ask = (emu3: Emu3) => emu3.chat({ messages, temperature: 0, maxNewTokens: 4 });
    const answer = await lasting.run(ask);
    devices[0].gpu.destroy();
    await devices[0].gpu.lost;
    const answers = await Promise.all([lasting.run(ask), lasting.run(ask)]);
    expect(answers.map(({ text }) => text)).toEqual([answer.text, answer.text]);
    expect(devices).toHaveLength(2);
    expect(new Set(lost)).toEqual(new Set(['device-lost']));
    await close();
  });

  it('gives up after its attempts, and passes on what is no loss', async () => {
    const { lasting, devices, close } = await lastingModel({ attempts: 2 });
    const lose = async (emu3: Emu3): Promise<void> => {
      emu3.device.gpu.destroy();
      await emu3.device.gpu.lost;
      emu3.device.check();
    };
    await expect(lasting.run(lose)).rejects.toMatchObject({ code: 'device-lost' });
    expect(devices).toHaveLength(2);
    await expect(lasting.generate({ prompt: '' })).rejects.toMatchObject({ code: 'prompt' });
    await expect(lasting.generate({ prompt: 'a star', signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
    expect(devices).toHaveLength(3);
    await close();
    await expect(lastingModel({ attempts: 0 })).rejects.toMatchObject({ code: 'argument', where: 'attempts' });
    await expect(lastingModel({ windows: [0] })).rejects.toMatchObject({ code: 'argument' });
  });
});
