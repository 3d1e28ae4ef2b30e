import { element, find } from './dom.js';
import type { DrawingSettings, ModelFacts } from './messages.js';

const sliderStep = 0.05;

/** Seed, guidance and temperature: the same controls in every panel that draws. */
export class SamplingFields {
  readonly seed: HTMLInputElement;
  private readonly guidance: HTMLInputElement;
  private readonly temperature: HTMLInputElement;
  /** Left alone, the slider says nothing: what goes on from a beginning has another default than it shows. */
  private isGuidanceChosen = false;

  /** @param place to be filled with the controls. */
  constructor(place: HTMLElement) {
    place.append(element('sampling', HTMLTemplateElement).content.cloneNode(true));
    this.seed = find(place, '[name=seed]', HTMLInputElement);
    this.guidance = find(place, '[name=guidance]', HTMLInputElement);
    this.temperature = find(place, '[name=temperature]', HTMLInputElement);
    find(place, '.new-seed', HTMLButtonElement).addEventListener('click', () => {
      this.seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    });
    for (const slider of [this.guidance, this.temperature]) {
      slider.addEventListener('input', () => showValue(slider));
    }
    this.guidance.addEventListener('input', () => {
      this.isGuidanceChosen = true;
    });
  }

  /** Takes the settings the model is sampled with by default. */
  begin({ guidance, temperature }: ModelFacts): void {
    this.isGuidanceChosen = false;
    for (const [slider, value] of [
      [this.guidance, guidance],
      [this.temperature, temperature],
    ] as const) {
      slider.value = String(Math.round(value / sliderStep) * sliderStep);
      showValue(slider);
    }
  }

  read(): Omit<DrawingSettings, 'prompt'> {
    return { ...this.readUnseeded(), ...(this.seed.value === '' ? {} : { seed: this.seed.valueAsNumber }) };
  }

  readUnseeded(): Pick<DrawingSettings, 'guidance' | 'temperature'> {
    return {
      temperature: this.temperature.valueAsNumber,
      ...(this.isGuidanceChosen && { guidance: this.guidance.valueAsNumber }),
    };
  }
}

function showValue(slider: HTMLInputElement): void {
  const shown = slider.closest('label')?.querySelector('output');
  if (shown) shown.value = slider.valueAsNumber.toFixed(2);
}
