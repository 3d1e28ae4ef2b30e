import type { Answer } from '../../index.js';
import { element, offerExamples, onPress } from './dom.js';
import type { Host, Panel } from './host.js';
import type { Task, TaskMessage } from './messages.js';
import { onePicture, PictureSource } from './picture-source.js';

/** A conversation about a picture or a clip, and captions. */
export class AskPanel implements Panel {
  private readonly host: Host;
  private readonly question = element('question', HTMLInputElement);
  private readonly source: PictureSource;
  private readonly log = element('log', HTMLElement);
  private readonly list = element('messages', HTMLOListElement);
  private readonly askButton = element('ask', HTMLButtonElement);
  private readonly captionButton = onPress('caption', () => this.caption());
  private readonly newButton = onPress('new-chat', () => this.startAnew());
  /** Whether the worker has a conversation about the chosen picture. */
  private begun = false;
  /** Where the answer under way is written. */
  private answer: HTMLElement | undefined;
  private asked: Task | undefined;
  private fileName = '';
  readonly fields = { messages: this.question };

  constructor(host: Host) {
    this.host = host;
    this.source = new PictureSource(element('ask-about', HTMLFieldSetElement), {
      onFile: (file) => {
        this.fileName = file.name;
        host.run(this, { kind: 'encode', file }, 'Turning the picture into tokens …');
      },
      onChange: () => this.startAnew(),
    });
    element('ask-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      if (!this.askButton.disabled) this.ask();
    });
    offerExamples('ask-examples', this.question);
  }

  begin(): void {
    this.startAnew();
  }

  refresh(ready: boolean): void {
    this.source.refresh(this.host.gallery, ready);
    const { chosen } = this.source;
    this.askButton.disabled = !ready || chosen === undefined;
    this.captionButton.disabled = !ready || chosen === undefined;
    this.newButton.disabled = !ready || this.list.childElementCount === 0;
    element('ask-hint', HTMLElement).hidden = chosen !== undefined;
  }

  receive(message: TaskMessage): void {
    switch (message.type) {
      case 'text':
        if (this.answer) this.answer.textContent += message.piece;
        this.log.scrollTop = this.log.scrollHeight;
        this.host.report('Answering …');
        break;
      case 'answer':
        this.finish(message.answer);
        break;
      case 'encoded':
        this.source.take({ name: this.fileName, encoded: message.picture });
        this.host.finish('The picture is open.');
        break;
    }
  }

  stopped(cancelled: boolean): void {
    const { answer, asked } = this;
    if (answer === undefined) return;
    this.end();
    if (asked?.kind === 'ask') this.question.value = asked.question;
    if (cancelled) note(answer, 'Cancelled: it is no part of the conversation.');
    else this.list.replaceChildren(...[...this.list.children].slice(0, asked?.kind === 'ask' ? -2 : -1));
    this.host.galleryChanged();
  }

  private ask(): void {
    const { chosen } = this.source;
    if (chosen === undefined) return;
    const question = this.question.value.trim();
    this.say('user', 'You', question);
    this.question.value = '';
    this.start(
      this.begun ? { kind: 'ask', question } : { kind: 'ask', question, about: onePicture(chosen) },
      'Reading the question …',
    );
  }

  private caption(): void {
    const { chosen } = this.source;
    if (chosen) this.start({ kind: 'caption', about: onePicture(chosen) }, 'Looking at it …');
  }

  private start(task: Task, doing: string): void {
    this.asked = task;
    this.answer = this.say('model', task.kind === 'caption' ? 'Caption' : 'Emu3', '');
    // Read out as a whole when it is there.
    this.log.ariaBusy = 'true';
    this.host.run(this, task, doing);
  }

  private finish({ text, finished }: Answer): void {
    const { answer, asked } = this;
    if (answer) {
      answer.textContent = text.trim();
      if (text.trim() === '') note(answer, 'It had nothing to say.');
      if (!finished) note(answer, 'Cut off at the longest answer.');
    }
    if (asked?.kind === 'ask') this.begun = true;
    this.end();
    this.host.finish('Answered.');
  }

  private end(): void {
    this.log.ariaBusy = 'false';
    Object.assign(this, { answer: undefined, asked: undefined });
  }

  private startAnew(): void {
    this.begun = false;
    this.list.replaceChildren();
    this.newButton.disabled = true;
  }

  /** @returns where its text stands. */
  private say(side: 'user' | 'model', name: string, text: string): HTMLElement {
    const item = document.createElement('li');
    item.className = side;
    const who = document.createElement('span');
    who.className = 'who';
    who.textContent = name;
    const words = document.createElement('p');
    words.textContent = text;
    item.append(who, words);
    this.list.append(item);
    this.log.scrollTop = this.log.scrollHeight;
    return words;
  }
}

/** A remark of the page's own below an answer. */
function note(answer: HTMLElement, text: string): void {
  const remark = document.createElement('p');
  remark.className = 'hint';
  remark.textContent = text;
  answer.after(remark);
}
