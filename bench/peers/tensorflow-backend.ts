import * as tf from '@tensorflow/tfjs-core';

/** What the WebGPU backend of TensorFlow.js has besides the interface of backends. */
interface Backend {
  readonly queue: GPUQueue;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

/** Waits for the GPU. It submits every so many dispatches, and what is left only when somebody reads. */
export async function finishWork(): Promise<void> {
  const backend = tf.backend() as Backend;
  backend.endComputePassEncoder();
  backend.submitQueue();
  await backend.queue.onSubmittedWorkDone();
}
