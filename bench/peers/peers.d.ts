/** What is used of the other engines, whose packages are installed only where they are measured. */
declare module '@jax-js/jax' {
  export interface Array {
    readonly ref: Array;
    readonly shape: readonly number[];
    data(): Promise<Float32Array>;
    dispose(): void;
    add(other: Array | number): Array;
    sub(other: Array): Array;
    mul(other: Array | number): Array;
    div(other: Array): Array;
    neg(): Array;
    sum(): Array;
    mean(axis: number, options: { keepdims: boolean }): Array;
    reshape(shape: readonly number[]): Array;
    /** A range of each axis; [] for the whole. */
    slice(...ranges: readonly (readonly [] | readonly [number, number])[]): Array;
  }
  /** Nested objects and lists of arrays. */
  export const tree: {
    ref<Tree>(tree: Tree): Tree;
    dispose(tree: unknown): void;
  };
  export function init(device: 'webgpu'): Promise<readonly string[]>;
  export function defaultDevice(device: 'webgpu'): void;
  export function blockUntilReady(arrays: unknown): Promise<unknown>;
  export function jit<In extends unknown[], Out>(compute: (...inputs: In) => Out): (...inputs: In) => Out;
  /** With the gradients by the first input. */
  export function valueAndGrad<First, In extends unknown[]>(
    compute: (first: First, ...inputs: In) => Array,
  ): (first: First, ...inputs: In) => [Array, First];
  export const numpy: {
    array(values: Float32Array | Int32Array, options: { shape: readonly number[] }): Array;
    zeros(shape: readonly number[]): Array;
    ones(shape: readonly number[]): Array;
    arange(stop: number): Array;
    matmul(a: Array, b: Array): Array;
    matvec(matrix: Array, vector: Array): Array;
    square(x: Array): Array;
    sqrt(x: Array): Array;
    reciprocal(x: Array): Array;
    equal(a: Array, b: Array): Array;
    lessEqual(a: Array, b: Array): Array;
    where(condition: Array, x: Array, y: Array | number): Array;
    take(x: Array, indices: Array, axis: number): Array;
    argmax(x: Array, axis: number): Array;
    split(x: Array, parts: number, axis: number): Array[];
    concatenate(parts: readonly Array[], axis: number): Array;
  };
  export const nn: {
    dotProductAttention(query: Array, key: Array, value: Array, options: { isCausal?: boolean; mask?: Array }): Array;
    silu(x: Array): Array;
    logSoftmax(x: Array, axis: number): Array;
  };
  export const lax: {
    conv(x: Array, kernel: Array, strides: readonly number[], padding: 'SAME'): Array;
  };
}

declare module '@tensorflow/tfjs-core' {
  export interface Tensor {
    readonly shape: readonly number[];
    data(): Promise<Float32Array | Int32Array>;
    dispose(): void;
  }
  export function setBackend(name: 'webgpu'): Promise<boolean>;
  export function backend(): unknown;
  export function tensor(values: Float32Array | Int32Array, shape: readonly number[], dtype?: 'int32'): Tensor;
  export function zeros(shape: readonly number[]): Tensor;
  export function oneHot(ids: Tensor, depth: number, on: number, off: number, dtype: 'float32'): Tensor;
  /** Disposes of what is made inside and not returned, in lists or objects. */
  export function tidy<Result>(compute: () => Result): Result;
  export function dispose(tensors: unknown): void;
  export function valueAndGrads(
    compute: (...inputs: Tensor[]) => Tensor,
  ): (inputs: readonly Tensor[]) => { value: Tensor; grads: Tensor[] };
  export function matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  export function mul(a: Tensor, b: Tensor | number): Tensor;
  export function add(a: Tensor, b: Tensor | number): Tensor;
  export function sub(a: Tensor, b: Tensor): Tensor;
  export function div(a: Tensor, b: Tensor): Tensor;
  export function square(x: Tensor): Tensor;
  export function sqrt(x: Tensor): Tensor;
  export function rsqrt(x: Tensor): Tensor;
  export function sigmoid(x: Tensor): Tensor;
  export function sum(x: Tensor): Tensor;
  export function mean(x: Tensor, axis: number, keepDimensions: boolean): Tensor;
  export function argMax(x: Tensor, axis: number): Tensor;
  export function softmax(x: Tensor): Tensor;
  export function logSoftmax(x: Tensor): Tensor;
  export function gather(x: Tensor, ids: Tensor): Tensor;
  export function reshape(x: Tensor, shape: readonly number[]): Tensor;
  export function transpose(x: Tensor, axes: readonly number[]): Tensor;
  export function slice(x: Tensor, begin: readonly number[], size: readonly number[]): Tensor;
  export function split(x: Tensor, parts: number | readonly number[], axis: number): Tensor[];
  export function concat(parts: readonly Tensor[], axis: number): Tensor;
  export function conv2d(x: Tensor, kernel: Tensor, strides: number, padding: 'same'): Tensor;
}

declare module '@tensorflow/tfjs-backend-webgpu' {}

declare module 'onnxruntime-web/webgpu' {
  export class Tensor {
    constructor(type: 'int32', data: Int32Array, dims: readonly number[]);
    static fromGpuBuffer(
      buffer: GPUBuffer,
      options: { dataType: 'float32' | 'int32' | 'int64'; dims: readonly number[] },
    ): Tensor;
    getData(): Promise<unknown>;
    dispose(): void;
  }
  export interface Session {
    /** With tensors to write to, or what it allocates itself. */
    run(
      feeds: Readonly<Record<string, Tensor>>,
      fetches?: Readonly<Record<string, Tensor>>,
    ): Promise<Readonly<Record<string, Tensor>>>;
    release(): Promise<void>;
  }
  export const InferenceSession: {
    create(
      model: Uint8Array,
      options: { executionProviders: readonly ['webgpu']; preferredOutputLocation: 'gpu-buffer' },
    ): Promise<Session>;
  };
  export const env: {
    logLevel: 'error';
    wasm: { numThreads: number };
    webgpu: { readonly device: Promise<GPUDevice> };
  };
}

declare module 'protobufjs' {
  interface Type {
    encode(message: object): { finish(): Uint8Array };
  }
  interface Root {
    lookupType(name: string): Type;
  }
  const protobuf: { Root: { fromJSON(schema: object): Root } };
  export default protobuf;
}
