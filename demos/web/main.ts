/** The page's side: controls in, tokens and picture out. The engine runs in a worker. */
import { downloadPng, duration, element, megabytes, pictureCanvas } from './dom.js';
import { Engine } from './engine.js';
import { TokenGrid } from './grid.js';
import type { DrawnPicture, Failure, FromWorker, ModelFacts, PictureRequest } from './messages.js';

/** `loading` the model, `ready` for a prompt, `drawing`, or `broken` until the model is loaded again. */
type State = 'loading' | 'ready' | 'drawing' | 'broken';

const controls = element('controls', HTMLFormElement);
const prompt = element('prompt', HTMLInputElement);
const style = element('style', HTMLSelectElement);
const seed = element('seed', HTMLInputElement);
const guidance = element('guidance', HTMLInputElement);
const temperature = element('temperature', HTMLInputElement);
const generateButton = element('generate', HTMLButtonElement);
const cancelButton = element('cancel', HTMLButtonElement);
const status = element('status', HTMLElement);
const progress = element('progress', HTMLProgressElement);
const error = element('error', HTMLElement);
const retryButton = element('retry', HTMLButtonElement);
const canvas = element('grid', HTMLCanvasElement);
const result = element('result', HTMLElement);
const cellInfo = element('cell', HTMLElement);
const showTokens = element('show-tokens', HTMLInputElement);

const address = new URL(new URLSearchParams(location.search).get('model') ?? './model/', location.href).href;
const grid = new TokenGrid(canvas);
const sliderStep = 0.05;

let engine: Engine;
let facts: ModelFacts | undefined;
let requested = '';
let drawn: { picture: HTMLCanvasElement; name: string } | undefined;

function setState(state: State): void {
  document.body.dataset['state'] = state;
  generateButton.disabled = state !== 'ready';
  cancelButton.disabled = state !== 'drawing';
  retryButton.hidden = state !== 'broken';
  progress.hidden = state === 'ready' || state === 'broken';
  canvas.ariaBusy = String(state === 'drawing');
}

function say(text: string): void {
  status.textContent = text;
}

function setProgress(done: number, total: number): void {
  progress.max = total;
  progress.value = done;
}

function setText(id: string, text: string): void {
  element(id, HTMLElement).textContent = text;
}

function start(): void {
  hideFailure();
  setState('loading');
  setProgress(0, 1);
  say('Looking for a GPU …');
  engine = new Engine(address, receive);
}

function receive(message: FromWorker): void {
  switch (message.type) {
    case 'adapter':
      setText('adapter', message.description + (message.software ? ' (software, slow)' : ''));
      say('Loading the model …');
      break;
    case 'progress':
      setProgress(message.loadedBytes, message.totalBytes);
      say(`Loading the ${message.part}: ${megabytes(message.loadedBytes)} of ${megabytes(message.totalBytes)}`);
      break;
    case 'ready':
      becomeReady(message.facts);
      break;
    case 'row':
      grid.addRow(message.row, message.codes);
      if (facts) setProgress(message.row + 1, facts.rows);
      say(`Row ${message.row + 1} of ${facts?.rows ?? '?'}`);
      break;
    case 'tokens-complete':
      say('Turning tokens into pixels …');
      break;
    case 'picture':
      showPicture(message.picture);
      break;
    case 'failed':
      fail(message.during, message.failure);
      break;
  }
}

function becomeReady(loaded: ModelFacts): void {
  facts = loaded;
  const { rows, columns, parameters } = loaded;
  grid.prepare(rows, columns, Uint8Array.from(loaded.palette));
  setText('model', `${(parameters / 1e6).toFixed(1)} M weights, ${rows} x ${columns} tokens a picture`);
  setSlider(guidance, loaded.guidance);
  setSlider(temperature, loaded.temperature);
  setState('ready');
  say('Ready.');
}

function setSlider(slider: HTMLInputElement, value: number): void {
  slider.value = String(Math.round(value / sliderStep) * sliderStep);
  showSlider(slider);
}

function showSlider(slider: HTMLInputElement): void {
  setText(`${slider.id}-value`, slider.valueAsNumber.toFixed(2));
}

/** The style is a word of the prompt, as in the captions the model learned from. */
function readControls(): PictureRequest {
  const text = prompt.value.trim();
  return {
    prompt: text === '' || style.value === '' ? text : `${text}, ${style.value} style`,
    guidance: guidance.valueAsNumber,
    temperature: temperature.valueAsNumber,
    ...(seed.value === '' ? {} : { seed: seed.valueAsNumber }),
  };
}

function generate(): void {
  hideFailure();
  const request = readControls();
  requested = request.prompt;
  drawn = undefined;
  result.hidden = true;
  grid.clear();
  showTokens.checked = false;
  grid.showTokens(false);
  canvas.ariaLabel = 'Token grid, being filled';
  setState('drawing');
  progress.removeAttribute('value');
  say('Reading the prompt …');
  engine.generate(request);
}

function showPicture(picture: DrawnPicture): void {
  const { rgb, height, width, ids, tokenSeconds, pixelSeconds, tokensPerSecond } = picture;
  const name = `${requested.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)}-${picture.seed}`;
  drawn = { picture: pictureCanvas(rgb, height, width), name };
  grid.show(drawn.picture);
  canvas.ariaLabel = `Picture: ${requested}`;
  setText('time', `${duration(tokenSeconds)} for ${ids.length} tokens, ${duration(pixelSeconds)} for the pixels`);
  setText('speed', Number.isFinite(tokensPerSecond) ? `${tokensPerSecond.toFixed(1)} tokens/s` : 'too short to tell');
  setText('used-seed', String(picture.seed));
  setText('ids', ids.join(' '));
  result.hidden = false;
  setState('ready');
  say(`Done in ${duration(tokenSeconds + pixelSeconds)}.`);
}

function fail(during: 'load' | 'generate' | 'device', failure: Failure): void {
  if (failure.code === 'aborted') {
    setState('ready');
    say('Cancelled.');
    return;
  }
  const usable = during === 'generate' && failure.code !== 'device-lost' && failure.code !== 'out-of-memory';
  setState(usable ? 'ready' : 'broken');
  say('');
  setText('error-message', failure.message);
  setText('error-fix', failure.fix);
  setText('error-where', failure.where);
  error.dataset['code'] = failure.code;
  error.hidden = false;
  if (failure.code !== 'prompt') return;
  prompt.ariaInvalid = 'true';
  prompt.focus();
}

function hideFailure(): void {
  error.hidden = true;
  prompt.ariaInvalid = null;
}

controls.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!generateButton.disabled) generate();
});
cancelButton.addEventListener('click', () => {
  say('Cancelling …');
  engine.cancel();
});
retryButton.addEventListener('click', () => {
  engine.close();
  start();
});
element('new-seed', HTMLButtonElement).addEventListener('click', () => {
  seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
});
for (const slider of [guidance, temperature]) slider.addEventListener('input', () => showSlider(slider));
for (const example of document.querySelectorAll<HTMLButtonElement>('#examples button')) {
  example.addEventListener('click', () => {
    prompt.value = example.textContent;
    prompt.focus();
  });
}
showTokens.addEventListener('change', () => grid.showTokens(showTokens.checked));
element('zoom-in', HTMLButtonElement).addEventListener('click', () => grid.zoom(1.5));
element('zoom-out', HTMLButtonElement).addEventListener('click', () => grid.zoom(1 / 1.5));
element('zoom-reset', HTMLButtonElement).addEventListener('click', () => grid.resetView());
grid.onCell = (cell, code) => {
  const token = code === undefined ? 'no token yet' : `codebook entry ${code}`;
  cellInfo.textContent = cell ? `Row ${cell.row + 1}, column ${cell.column + 1}: ${token}` : '';
};
for (const scale of [1, 8]) {
  element(`download-${scale}`, HTMLButtonElement).addEventListener('click', () => {
    if (drawn) downloadPng(drawn.picture, scale, `${drawn.name}.png`);
  });
}

start();
