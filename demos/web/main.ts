/** The page's side: controls in, tokens, pictures, clips and answers out. The engine runs in a worker. */
import { AskPanel } from './ask-panel.js';
import { element, setText } from './dom.js';
import { DrawPanel } from './draw-panel.js';
import { Engine } from './engine.js';
import { failureOf } from './failure.js';
import { megabytes } from './format.js';
import type { Host, Panel } from './host.js';
import type { Failure, FromWorker, ModelFacts } from './messages.js';
import { StatusBar, type State } from './status-bar.js';
import { listenToTabs } from './tabs.js';
import { VideoPanel } from './video-panel.js';

const address = new URL(new URLSearchParams(location.search).get('model') ?? './model/', location.href).href;

let engine: Engine;
let state: State = 'loading';
/** Whose task is under way. */
let working: Panel | undefined;
/** Ends work of the page's own. */
let ownWork: AbortController | undefined;

const bar = new StatusBar({
  onCancel: () => {
    bar.say('Cancelling …');
    if (ownWork) ownWork.abort();
    else engine.cancel();
  },
  onRetry: () => {
    engine.close();
    start();
  },
});

const host: Host = {
  gallery: {},
  run: (panel, task, doing) => {
    begin(panel, doing);
    engine.run(task);
  },
  work: (panel, doing, work) => {
    begin(panel, doing);
    const controller = new AbortController();
    ownWork = controller;
    work(controller.signal)
      .catch((error: unknown) => fail('task', failureOf(error)))
      .finally(() => (ownWork = undefined));
  },
  report: (text, done, total) => {
    bar.say(text);
    if (done !== undefined && total !== undefined) bar.setProgress(done, total);
  },
  finish: (text) => {
    working = undefined;
    setState('ready');
    bar.say(text);
  },
  galleryChanged: () => refresh(),
};

const panels: readonly Panel[] = [new DrawPanel(host), new VideoPanel(host), new AskPanel(host)];

function setState(next: State): void {
  state = next;
  bar.setState(next);
  refresh();
}

function refresh(): void {
  for (const panel of panels) panel.refresh(state === 'ready');
}

function begin(panel: Panel, doing: string): void {
  hideFailure();
  working = panel;
  setState('working');
  bar.say(doing);
}

function start(): void {
  hideFailure();
  setState('loading');
  bar.say('Looking for a GPU …');
  engine = new Engine(address, receive);
}

function receive(message: FromWorker): void {
  switch (message.type) {
    case 'adapter':
      setText('adapter', message.description + (message.software ? ' (software, slow)' : ''));
      bar.say('Loading the model …');
      break;
    case 'progress': {
      const { part, loadedBytes, totalBytes } = message;
      bar.setProgress(loadedBytes, totalBytes);
      bar.say(`Loading the ${part}: ${megabytes(loadedBytes)} of ${megabytes(totalBytes)}`);
      break;
    }
    case 'ready':
      becomeReady(message.facts);
      break;
    case 'failed':
      fail(message.during, message.failure);
      break;
    default:
      working?.receive(message);
  }
}

function becomeReady(facts: ModelFacts): void {
  const { rows, columns, parameters } = facts;
  setText('model', `${(parameters / 1e6).toFixed(1)} M weights, ${rows} x ${columns} tokens a picture`);
  for (const panel of panels) panel.begin(facts);
  setState('ready');
  bar.say('Ready.');
}

function fail(during: 'load' | 'task' | 'device', failure: Failure): void {
  const panel = working;
  working = undefined;
  const cancelled = failure.code === 'aborted';
  const usable = during === 'task' && failure.code !== 'device-lost' && failure.code !== 'out-of-memory';
  setState(usable ? 'ready' : 'broken');
  panel?.stopped(cancelled);
  if (cancelled) {
    bar.say('Cancelled.');
    return;
  }
  bar.showFailure(failure);
  // `messages[2]` is one of the messages.
  const field = panel?.fields[failure.where.replace(/\[\d+\]$/, '')];
  if (field === undefined) return;
  field.ariaInvalid = 'true';
  field.focus();
}

function hideFailure(): void {
  bar.hideFailure();
  for (const { fields } of panels) for (const field of Object.values(fields)) field.ariaInvalid = null;
}

listenToTabs(element('tabs', HTMLElement));
start();
