import { HubApiError, listFiles, modelInfo, type ListFileEntry } from '@huggingface/hub';
import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import { namesIn, type ModelFolder } from '../folder.js';
import { attempt, networkError, statusError, withRetries, type HttpOptions } from '../http/request.js';
import { httpContent, openHttpSource } from '../http/source.js';
import { compareContent, hashedSource, type ListedHash } from './hash.node.js';

export interface HubOptions extends HttpOptions {
  /** Branch, tag or commit; default `main`. */
  revision?: string;
  /** For private and gated models. */
  accessToken?: string;
  /** Of a mirror; default https://huggingface.co. */
  hubUrl?: string;
  /** Told of every file that has been read whether its content could be compared with its listed hash, and is the listed one. */
  onCheck?: (check: HubCheck) => void;
}

/** Whether a file's content was found to be the listed one. */
export interface HubCheck {
  readonly path: string;
  /** False where the listing has no hash, or where much of the file was skipped or read in another order. */
  readonly compared: boolean;
}

/** What the hub says about a file. */
export interface HubFile {
  /** Bytes. */
  readonly size: number;
  /** Of the content: SHA-256 of files in large-file storage, Git's of others; undefined where the listing has neither. */
  readonly hash: ListedHash | undefined;
}

/** A model on the hub at one commit, so that files that are replaced meanwhile do not mix. */
export interface HubFolder extends ModelFolder {
  /** The commit that the revision stood for when the folder was opened. */
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

const defaultHub = 'https://huggingface.co';

/**
 * Opens a model of the hub: the revision is resolved to a commit and its files are listed; content is read with range
 * requests when it is asked for, its size and its hash compared with the listing ({@link hashedSource}). In Node, as the hub's client cannot be bundled for
 * browsers; `urlFolder` reads there.
 *
 * @param repository `owner/name`.
 * @throws Emu3Error `argument` for a name of another form, `missing` for a model or revision that is not there, `io` when
 *   the hub cannot be reached or refuses, with its own words, `format` for an answer that is none, `aborted`. Reading
 *   throws `format` for a content that is not the listed one.
 */
export async function openHubFolder(repository: string, options: HubOptions = {}): Promise<HubFolder> {
  const { revision = 'main', accessToken, signal, onCheck } = options;
  const hubUrl = (options.hubUrl ?? defaultHub).replace(/\/$/, '');
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository)) {
    throw new Emu3Error(`"${repository.slice(0, 120)}" is no name of a model on the hub.`, {
      code: 'argument',
      where: 'hub',
      fix: 'Give owner and name, such as BAAI/Emu3-Gen.',
    });
  }
  const where = `${hubUrl}/${repository}`;
  const headers = { ...options.headers, ...(accessToken !== undefined && { Authorization: `Bearer ${accessToken}` }) };
  const http: HttpOptions = { ...options, headers };
  const call = { hubUrl, fetch: retryingFetch(http) };
  const { commit, files } = await answered(where, signal, async () => {
    const { sha } = await modelInfo({ ...call, name: repository, revision, additionalFields: ['sha'] });
    const found = new Map<string, HubFile>();
    for await (const entry of listFiles({ ...call, repo: repository, revision: sha, recursive: true })) {
      if (entry.type === 'file') found.set(entry.path, { size: entry.size, hash: listedHash(entry) });
    }
    return { commit: sha, files: found };
  });
  const address = (path: string): string =>
    [hubUrl, repository, 'resolve', commit, ...path.split('/').map(encodeURIComponent)].join('/');
  const known = (path: string): HubFile => {
    const file = files.get(path);
    if (file !== undefined) return file;
    throw new Emu3Error('The model has no such file.', {
      code: 'missing',
      where: `${where}@${commit.slice(0, 8)}/${path}`,
      fix: 'Check the name of the model and the revision.',
    });
  };
  const withSignal = (given: AbortSignal | undefined): HttpOptions =>
    given === undefined ? http : { ...http, signal: given };
  return {
    name: `${where}@${commit.slice(0, 8)}`,
    commit,
    files,
    list: (inside) => Promise.resolve(namesIn(files.keys(), inside)),
    exists: (path) => Promise.resolve(files.has(path)),
    readText: async (path, given) => {
      const { hash } = known(path);
      const content = await httpContent(address(path), withSignal(given));
      if (hash) compareContent(content, hash, address(path));
      onCheck?.({ path, compared: hash !== undefined });
      return new TextDecoder().decode(content);
    },
    open: async (path, given) => {
      const { size, hash } = known(path);
      const source = await openHttpSource(address(path), { ...withSignal(given), size });
      const tell = (compared: boolean): void => onCheck?.({ path, compared });
      if (hash) return hashedSource(source, hash, tell);
      return { ...source, verify: () => Promise.resolve().then(() => tell(false)) };
    },
  };
}

function listedHash({ oid, lfs }: ListFileEntry): ListedHash | undefined {
  const [kind, value, digits] = lfs ? (['sha256', lfs.oid, 64] as const) : (['git', oid, 40] as const);
  return value?.length === digits && /^[\da-f]+$/.test(value) ? { kind, value } : undefined;
}

/** A fetch for the hub client that waits and asks again where that may help. */
function retryingFetch(options: HttpOptions): typeof fetch {
  return (input, init) => {
    const url = input instanceof Request ? input.url : input.toString();
    const headers = new Headers(options.headers);
    for (const [name, value] of new Headers(init?.headers)) headers.set(name, value);
    return withRetries(() => attempt(url, { ...init, headers }, options), url, options);
  };
}

/** Turns what the hub client throws into this project's errors. */
async function answered<Result>(
  where: string,
  signal: AbortSignal | undefined,
  ask: () => Promise<Result>,
): Promise<Result> {
  try {
    return await ask();
  } catch (error) {
    throwIfAborted(signal, where);
    if (error instanceof Emu3Error) throw error;
    if (error instanceof HubApiError) {
      const words: unknown = error.data?.['error'];
      throw statusError(where, error.statusCode, '', typeof words === 'string' ? words : '');
    }
    if (error instanceof SyntaxError || error instanceof TypeError) {
      throw new Emu3Error('The answer is not that of a hub.', {
        code: 'format',
        where,
        fix: 'Check the address of the hub.',
        cause: error,
      });
    }
    throw networkError(where, error);
  }
}
