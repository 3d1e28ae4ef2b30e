/**
 * Dawn's Node binding waits for the GPU by calling the global `setImmediate` again and again, as fast as it can. On a
 * software adapter that spinning thread takes a core away from the very work it waits for; on a real GPU it only
 * burns power. Here those calls, and no others, are spaced out: at once for a moment after a wait begins, so that
 * short work is answered at once, then by timers that grow with the time already waited (about 3 % of it).
 */

/** Longest pause between two polls, in milliseconds. */
const longestPause = 8;
/** Share of the time waited so far that the next pause may take. */
const pauseShare = 1 / 32;

const waits = {
  GPUAdapter: ['requestDevice'],
  GPUBuffer: ['mapAsync'],
  GPUDevice: ['createComputePipelineAsync', 'createRenderPipelineAsync', 'popErrorScope'],
  GPUQueue: ['onSubmittedWorkDone'],
} as const;

let spin = 0.25;
let waitingSince = 0;
let sleeping: { timer: NodeJS.Timeout; poll: () => void } | undefined;
let immediately: typeof setImmediate | undefined;

/** How long, in milliseconds, a new wait polls without pause: short on software adapters, longer on a real GPU. */
export function setPollingSpin(milliseconds: number): void {
  spin = milliseconds;
}

/**
 * Installs the pacing once per process. Call it before the binding makes its first device.
 * @param globals The binding's interface objects (`globals` of the npm package `webgpu`); their waiting methods are
 *   wrapped to tell when a wait begins.
 */
export function paceDawnPolling(globals: ReadonlyMap<string, unknown>): void {
  if (immediately !== undefined) return;
  const original = globalThis.setImmediate;
  immediately = original;
  const paced = <Args extends unknown[]>(callback: (...args: Args) => void, ...args: Args): NodeJS.Immediate => {
    if (args.length > 0 || !isNativePoll(callback)) return original(callback, ...args);
    const poll = (): void => callback(...args);
    const waited = performance.now() - waitingSince;
    if (waited < spin) return original(poll);
    const pause = Math.min(longestPause, Math.max(1, waited * pauseShare));
    const timer = setTimeout(() => {
      sleeping = undefined;
      poll();
    }, pause);
    sleeping = { timer, poll };
    // The binding ignores what it gets back; anyone else never comes here.
    return original(nothing);
  };
  globalThis.setImmediate = Object.defineProperties(
    paced,
    Object.getOwnPropertyDescriptors(original),
  ) as typeof original;
  for (const [name, methods] of Object.entries(waits)) {
    for (const method of methods) noteWaits(globals.get(name), method);
  }
}

function nothing(): void {
  // Runs in place of the poll that a timer will make.
}

/** The binding's callback is an anonymous native constructor; bound functions, the other natives, have no prototype. */
function isNativePoll(callback: { readonly name: string; readonly length: number }): boolean {
  return (
    callback.name === '' &&
    callback.length === 0 &&
    Object.hasOwn(callback, 'prototype') &&
    Function.prototype.toString.call(callback) === 'function () { [native code] }'
  );
}

function noteWaits(constructor: unknown, method: string): void {
  if (typeof constructor !== 'function') return;
  const prototype: unknown = constructor.prototype;
  if (typeof prototype !== 'object' || prototype === null) return;
  const original: unknown = Reflect.get(prototype, method);
  if (typeof original !== 'function') return;
  Reflect.set(prototype, method, function (this: unknown, ...args: unknown[]): unknown {
    beginWait();
    const result: unknown = Reflect.apply(original, this, args);
    return result;
  });
}

function beginWait(): void {
  waitingSince = performance.now();
  if (sleeping === undefined || immediately === undefined) return;
  clearTimeout(sleeping.timer);
  immediately(sleeping.poll);
  sleeping = undefined;
}
