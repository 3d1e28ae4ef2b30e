import { element, setText } from './dom.js';
import type { Failure } from './messages.js';

/** `loading` the model, `ready` for a task, `working`, or `broken` until the model is loaded again. */
export type State = 'loading' | 'ready' | 'working' | 'broken';

/** What goes on, how far it is, how to end it, and what went wrong. */
export class StatusBar {
  private readonly status = element('status', HTMLElement);
  private readonly progress = element('progress', HTMLProgressElement);
  private readonly cancel = element('cancel', HTMLButtonElement);
  private readonly error = element('error', HTMLElement);
  private readonly retry = element('retry', HTMLButtonElement);

  constructor(events: { onCancel: () => void; onRetry: () => void }) {
    this.cancel.addEventListener('click', events.onCancel);
    this.retry.addEventListener('click', events.onRetry);
  }

  setState(state: State): void {
    document.body.dataset['state'] = state;
    this.cancel.hidden = state !== 'working';
    this.retry.hidden = state !== 'broken';
    this.progress.hidden = state === 'ready' || state === 'broken';
    // Nobody knows how long it takes until the first progress.
    this.progress.removeAttribute('value');
  }

  say(text: string): void {
    this.status.textContent = text;
  }

  setProgress(done: number, total: number): void {
    this.progress.max = total;
    this.progress.value = done;
  }

  showFailure({ code, message, fix, where }: Failure): void {
    this.say('');
    setText('error-message', message);
    setText('error-fix', fix);
    setText('error-where', where);
    this.error.dataset['code'] = code;
    this.error.hidden = false;
  }

  hideFailure(): void {
    this.error.hidden = true;
  }
}
