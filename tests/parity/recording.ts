import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Emu3Error } from '../../kernels/core/errors.js';
import { diskFolder, openFileSource, SafetensorsFile, type ModelFolder } from '../../loader/index.node.js';

/** A tensor of a recording, row-major. */
export interface RecordedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** One recorded safetensors file. Asking for a tensor marks it as known. */
export class RecordedTensors {
  readonly path: string;
  private readonly tensors: ReadonlyMap<string, RecordedTensor>;
  private readonly known = new Set<string>();

  constructor(path: string, tensors: ReadonlyMap<string, RecordedTensor>) {
    this.path = path;
    this.tensors = tensors;
  }

  get names(): string[] {
    return [...this.tensors.keys()];
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** Marks tensors as known without comparing them: inputs read elsewhere, and what is indicative only. */
  claim(names: readonly string[]): void {
    for (const name of names) this.known.add(name);
  }

  find(name: string): RecordedTensor | undefined {
    const tensor = this.tensors.get(name);
    if (tensor) this.known.add(name);
    return tensor;
  }

  /** @throws Emu3Error `missing`. */
  get(name: string): RecordedTensor {
    const tensor = this.find(name);
    if (tensor) return tensor;
    throw new Emu3Error(`The recording has no tensor ${name}.`, {
      code: 'missing',
      where: this.path,
      fix: 'Record it again.',
    });
  }

  /** Tensors nobody asked for. */
  get unknown(): string[] {
    return this.names.filter((name) => !this.known.has(name));
  }
}

/** A folder of recorded outputs. Every file must be claimed by a case, else it counts as unknown. */
export class Recording {
  readonly root: string;
  /** Paths relative to the root, with forward slashes. */
  readonly files: readonly string[];
  private readonly known = new Set<string>();
  private readonly opened = new Map<string, Promise<RecordedTensors>>();

  private constructor(root: string, files: readonly string[]) {
    this.root = root;
    this.files = files;
  }

  /** @throws Emu3Error `missing` when there is no such folder or it is empty. */
  static async open(root: string): Promise<Recording> {
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(join(root, '.').length + 1)
          .replaceAll('\\', '/'),
      )
      .sort();
    if (files.length > 0) return new Recording(root, files);
    throw new Emu3Error('There are no recordings.', {
      code: 'missing',
      where: root,
      fix: 'Name a folder laid out like tests/golden.',
    });
  }

  has(path: string): boolean {
    return this.files.includes(path);
  }

  claim(path: string): void {
    this.known.add(path);
  }

  get unknown(): string[] {
    return this.files.filter((path) => !this.known.has(path));
  }

  /** Files directly in a folder, by name. */
  filesIn(folder: string, ending = ''): string[] {
    return this.files.filter(
      (path) => path.startsWith(`${folder}/`) && !path.slice(folder.length + 1).includes('/') && path.endsWith(ending),
    );
  }

  async bytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await readFile(join(this.root, path)));
  }

  /** A JSON file; the caller names the fields it reads. */
  async json<T>(path: string): Promise<T> {
    return JSON.parse(new TextDecoder().decode(await this.bytes(path))) as T;
  }

  /** A safetensors file, read through the loader once. */
  async tensors(path: string): Promise<RecordedTensors> {
    this.claim(path);
    let opened = this.opened.get(path);
    if (opened === undefined) {
      opened = readAll(join(this.root, path), path);
      this.opened.set(path, opened);
    }
    return opened;
  }

  /** The safetensors files asked for so far. */
  async openedFiles(): Promise<RecordedTensors[]> {
    return Promise.all(this.opened.values());
  }

  /** A model's folder. */
  model(folder: string): ModelFolder {
    return diskFolder(join(this.root, folder));
  }

  /** Marks the config and weight files of a model's folder as known. */
  claimModel(folder: string): void {
    for (const path of this.filesIn(folder)) if (isModelFile(path)) this.claim(path);
  }
}

/** Whether a file is a model's config, weights or index by the hub's file names. */
export function isModelFile(path: string): boolean {
  return /(?:^|\/)(?:config\.json|model(?:-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json)$/.test(path);
}

async function readAll(path: string, name: string): Promise<RecordedTensors> {
  const file = await SafetensorsFile.open(await openFileSource(path));
  try {
    const tensors = new Map<string, RecordedTensor>();
    for (const [tensor, { shape, dtype }] of file.tensors) {
      const isFloat = dtype === 'F32' || dtype === 'BF16' || dtype === 'F16';
      tensors.set(tensor, { shape, data: await (isFloat ? file.readFloat32(tensor) : file.readInt32(tensor)) });
    }
    return new RecordedTensors(name, tensors);
  } finally {
    await file.close();
  }
}
