import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encodeSafetensors, openCheckpoint, openHubFolder } from '../../loader/index.node.js';
import { gitHash, sha256, TestHub } from '../support/hub.js';
import { expectError, rejection } from './support.js';

const hub = new TestHub();
const { commit, repository, files, lies } = hub;
const quick = { firstDelay: 1 };
let hubUrl = '';

beforeAll(async () => {
  const weights = (name: string, value: number): Promise<Uint8Array> =>
    encodeSafetensors([{ name, dtype: 'F32', shape: [3], values: Float32Array.of(value, 2, 3) }]);
  files.set('config.json', new TextEncoder().encode('{"hidden_size": 8}'));
  files.set('model-00001-of-00002.safetensors', await weights('first', 1));
  files.set('model-00002-of-00002.safetensors', await weights('second', -1));
  const map = { first: 'model-00001-of-00002.safetensors', second: 'model-00002-of-00002.safetensors' };
  files.set('model.safetensors.index.json', new TextEncoder().encode(JSON.stringify({ weight_map: map })));
  files.set('vision_tokenizer/config.json', new TextEncoder().encode('{}'));
  await hub.start();
  hubUrl = hub.url;
});

beforeEach(() => {
  hub.before = () => false;
  hub.seen = [];
  lies.clear();
});

afterAll(() => hub.stop());

describe('models on the hub', () => {
  test('are listed at a commit and read in ranges, across shards', async () => {
    const folder = await openHubFolder(repository, { hubUrl: `${hubUrl}/`, revision: 'v1' });
    expect(folder.commit).toBe(commit);
    const [shard, config] = ['model-00001-of-00002.safetensors', 'config.json'];
    const [listedShard, listedConfig] = [shard, config].map((name) => folder.files.get(name));
    expect(listedShard?.hash).toEqual({ kind: 'sha256', value: sha256(files.get(shard) ?? new Uint8Array()) });
    const git = gitHash(files.get(config) ?? new Uint8Array());
    expect(listedConfig).toEqual({ size: 18, hash: { kind: 'git', value: git } });
    expect(await folder.list?.()).not.toContain('vision_tokenizer/config.json');
    expect(await folder.list?.('vision_tokenizer')).toEqual(['config.json']);
    expect(await folder.exists('vision_tokenizer/config.json')).toBe(true);
    expect(await folder.exists('model.safetensors')).toBe(false);
    expect(await folder.readText('config.json')).toBe('{"hidden_size": 8}');
    const checkpoint = await openCheckpoint(folder);
    expect([...(await checkpoint.readFloat32('first'))]).toEqual([1, 2, 3]);
    expect([...(await checkpoint.readFloat32('second'))]).toEqual([-1, 2, 3]);
    await checkpoint.close();
  });

  test('are asked for with the token, in the listing and in every range', async () => {
    const folder = await openHubFolder(repository, { hubUrl, accessToken: 'hf_secret' });
    await folder.open('model-00001-of-00002.safetensors');
    expect(hub.seen.length).toBeGreaterThanOrEqual(3);
    expect(new Set(hub.seen.map(({ token }) => token))).toEqual(new Set(['Bearer hf_secret']));
  });

  test('that are not there, names that are none, revisions that are none', async () => {
    expectError(await rejection(openHubFolder('someone/else', { hubUrl })), 'missing', 'Repository not found');
    expectError(
      await rejection(openHubFolder(repository, { hubUrl, revision: 'v9' })),
      'missing',
      'Revision not found',
    );
    for (const name of ['emu3', 'a/b/c', '../x/y', 'a b/c', '']) {
      expectError(await rejection(openHubFolder(name, { hubUrl })), 'argument', 'owner and name');
    }
    const folder = await openHubFolder(repository, { hubUrl });
    expectError(await rejection(folder.open('other.safetensors')), 'missing', 'other.safetensors');
    expectError(await rejection(folder.readText('other.json')), 'missing', 'other.json');
  });

  test.each([401, 403])('that may not be read (%d): the words of the hub, at once', async (status) => {
    hub.before = (_request, response) => {
      response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(JSON.stringify({ error: 'Access to this model is restricted.' }));
      return true;
    };
    const error = await rejection(openHubFolder(repository, { hubUrl }));
    expectError(error, 'io', String(status), 'Access to this model is restricted.', 'access token');
    expect(hub.seen).toHaveLength(1);
  });

  test('of a busy hub are asked for again', async () => {
    let busy = 6;
    hub.before = (_request, response) => {
      if (busy-- % 2 !== 0 || busy < 0) return false;
      response.writeHead(429, { 'retry-after': '0' }).end();
      return true;
    };
    const folder = await openHubFolder(repository, { hubUrl, retry: quick });
    expect(folder.files.size).toBe(files.size);
    busy = Infinity;
    hub.before = (_request, response) => {
      response.writeHead(429).end();
      return true;
    };
    expectError(await rejection(openHubFolder(repository, { hubUrl, retry: quick })), 'io', '429', 'Wait');
  });

  test('whose files have another size than the listing says', async () => {
    lies.set('model-00001-of-00002.safetensors', 99);
    const folder = await openHubFolder(repository, { hubUrl });
    expectError(await rejection(openCheckpoint(folder)), 'format', 'listed with 99');
  });

  test('on a server that is no hub, or none at all', async () => {
    hub.before = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
      return true;
    };
    expectError(await rejection(openHubFolder(repository, { hubUrl })), 'format', 'not that of a hub');
    const nowhere = { hubUrl: 'http://127.0.0.1:1', retry: quick };
    expectError(await rejection(openHubFolder(repository, nowhere)), 'io', 'could not be downloaded');
    expectError(await rejection(openHubFolder(repository, { hubUrl, signal: AbortSignal.abort() })), 'aborted');
  });
});
