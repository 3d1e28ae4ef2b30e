import type { FromWorker, Task, ToWorker } from './messages.js';

/** The engine in its worker, as the page sees it. */
export class Engine {
  private readonly worker: Worker;

  /** Starts a worker that loads the model at once. @param model absolute address of the model's folder. */
  constructor(model: string, receive: (message: FromWorker) => void) {
    this.worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => receive(data));
    this.worker.addEventListener('error', ({ message }) => {
      const failure = {
        code: 'unexpected' as const,
        message: message || 'The worker could not be started.',
        where: 'worker.js',
        fix: 'Reload the page; if it stays, use a recent browser.',
      };
      receive({ type: 'failed', during: 'device', failure });
    });
    this.send({ type: 'load', model });
  }

  run(task: Task): void {
    this.send({ type: 'run', task });
  }

  cancel(): void {
    this.send({ type: 'cancel' });
  }

  /** Ends the worker with everything it holds on the GPU. */
  close(): void {
    this.worker.terminate();
  }

  private send(message: ToWorker): void {
    this.worker.postMessage(message);
  }
}
