import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

/** A server that speaks as much of the hub's interface as a model's files need. */
export class TestHub {
  readonly commit = '0123456789abcdef0123456789abcdef01234567';
  readonly repository = 'someone/small-emu';
  url = '';
  readonly files = new Map<string, Uint8Array>();
  /** Sizes of the listing that differ from those of the files. */
  readonly lies = new Map<string, number>();
  /** Contents that are sent in place of the listed ones. */
  readonly damaged = new Map<string, Uint8Array>();
  /** Lists no hashes that are any. */
  hashless = false;
  seen: { path: string; token: string | undefined }[] = [];
  /** Answers before the hub does, or leaves it to the hub. */
  before: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  private readonly server = createServer((request, response) => this.answer(request, response));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('The server has no port.');
    this.url = `http://127.0.0.1:${address.port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const { files, lies, damaged, repository, commit } = this;
    const path = new URL(request.url ?? '', 'http://hub').pathname;
    this.seen.push({ path, token: request.headers.authorization });
    if (this.before(request, response)) return;
    const json = (value: unknown): void =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const refuse = (message: string): void =>
      void response
        .writeHead(404, { 'content-type': 'application/json', 'x-error-message': message })
        .end(JSON.stringify({ error: message }));
    if (path.startsWith('/api/models/') && !path.startsWith(`/api/models/${repository}/`)) {
      refuse('Repository not found');
    } else if (/\/revision\/(main|v1)$/.test(path)) {
      json({ _id: '1', id: repository, sha: commit, lastModified: '2024-09-27', private: false, gated: false });
    } else if (path === `/api/models/${repository}/tree/${commit}`) {
      json(
        [...files].map(([name, content]) => ({
          type: 'file',
          path: name,
          size: lies.get(name) ?? content.length,
          oid: this.hashless ? 'a' : gitHash(content),
          ...(name.endsWith('.safetensors') && {
            lfs: { oid: this.hashless ? 'b' : sha256(content), size: content.length, pointerSize: 120 },
          }),
        })),
      );
    } else if (path.startsWith(`/${repository}/resolve/${commit}/`)) {
      const name = decodeURIComponent(path.slice(`/${repository}/resolve/${commit}/`.length));
      sendFile(request, response, damaged.get(name) ?? files.get(name));
    } else {
      refuse('Revision not found');
    }
  }
}

export function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** As Git names a blob. */
export function gitHash(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

/** A content with one bit of a byte turned over. */
export function flipped(content: Uint8Array, at: number): Uint8Array {
  const damaged = Uint8Array.from(content);
  damaged[at] ^= 1;
  return damaged;
}

export function sendFile(request: IncomingMessage, response: ServerResponse, content: Uint8Array | undefined): void {
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  if (content === undefined) return void response.writeHead(404).end();
  const tag = { etag: `"${content.length}"` };
  if (!match) return void response.writeHead(200, tag).end(content);
  const [first, last] = [Number(match[1]), Math.min(Number(match[2]), content.length - 1)];
  const range = { ...tag, 'content-range': `bytes ${first}-${last}/${content.length}` };
  return void response.writeHead(206, range).end(content.subarray(first, last + 1));
}
