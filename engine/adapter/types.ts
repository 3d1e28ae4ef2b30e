/**
 * What computes: a real GPU, Mesa's `lavapipe`, Google's `swiftshader`, or another adapter that calls itself
 * software (Windows' WARP, a browser's fallback adapter).
 */
export type AdapterKind = 'gpu' | 'lavapipe' | 'swiftshader' | 'software';

/** A WebGPU entry point and the adapter taken from it: all the engine ever learns about where it runs. */
export interface AdapterChoice {
  gpu: GPU;
  /** Good for one device. `requestAgain` gets a fresh one after a lost device. */
  adapter: GPUAdapter;
  kind: AdapterKind;
  /** True when the "GPU" is a program on the CPU: its speed and its best kernels differ. */
  software: boolean;
  /** For people, e.g. `lavapipe (Mesa 25.0.7)`. */
  description: string;
}
