import { element } from './dom.js';

/** Tabs that arrow keys, Home and End walk along (https://www.w3.org/WAI/ARIA/apg/patterns/tabs). */
export function listenToTabs(list: HTMLElement): void {
  const tabs = [...list.querySelectorAll<HTMLButtonElement>('[role=tab]')];
  const choose = (chosen: HTMLButtonElement): void => {
    for (const tab of tabs) {
      tab.ariaSelected = String(tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      element(tab.getAttribute('aria-controls') ?? '', HTMLElement).hidden = tab !== chosen;
    }
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener('click', () => choose(tab));
    tab.addEventListener('keydown', (event) => {
      const target = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: -1 }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      const next = tabs.at(target % tabs.length);
      if (next === undefined) return;
      choose(next);
      next.focus();
    });
  }
}
