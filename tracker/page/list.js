// The live list: newest first, bounded, painted once a frame.

import { eventRow, gapRow, toggle } from "./rows.js";
import { line } from "./text.js";

/** How many events are kept, for the filter. */
const KEPT = 2000;
/** How many of them are rows. */
const ROWS = 250;
/** Of how many at once each is lit up for a moment. More would be a flicker. */
const LIT = 5;

/** The list in a table's body. */
export class EventList {
  #body;
  #kept = [];
  #fresh = [];
  #filter = "";
  #painting = 0;

  /**
   * @param {HTMLElement} body
   * @param {(account: number) => void} onAccount is called when an account is chosen in a row
   */
  constructor(body, onAccount) {
    this.#body = body;
    body.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button?.classList.contains("more")) toggle(button);
      else if (button?.dataset.account) onAccount(Number(button.dataset.account));
    });
  }

  /** Whether nothing was ever added. */
  get isEmpty() {
    return !this.#kept.length && !this.#fresh.length;
  }

  /** Add an event or a gap, the newest one. It is painted with the next frame; while the page is hidden, later. */
  add(frame) {
    this.#fresh.push(frame);
    if (this.#fresh.length > 2 * KEPT) this.#fresh.splice(0, this.#fresh.length - KEPT);
    this.#painting ||= requestAnimationFrame(() => this.#paint());
  }

  /** Show only what has this text in its data, tracker or account. */
  set filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#body.replaceChildren();
    this.#prepend(this.#kept);
  }

  #paint() {
    this.#painting = 0;
    const fresh = this.#fresh;
    this.#fresh = [];
    this.#kept = this.#kept.concat(fresh).slice(-KEPT);
    this.#prepend(fresh, fresh.length <= LIT);
  }

  #prepend(frames, lit = false) {
    const rows = document.createDocumentFragment();
    for (let n = frames.length - 1; n >= 0 && rows.childElementCount < ROWS; n -= 1) {
      const frame = frames[n];
      if (!this.#matches(frame)) continue;
      const row = frame.Frame === "gap" ? gapRow(frame) : eventRow(frame);
      row.classList.toggle("fresh", lit);
      rows.append(row);
    }
    if (!rows.childElementCount) return;
    this.#body.prepend(rows);
    while (this.#body.childElementCount > ROWS) this.#body.lastElementChild.remove();
  }

  #matches(frame) {
    if (!this.#filter || frame.Frame === "gap") return true;
    return `${frame.ID}\n${frame.Host}\n${line(frame.Data)}`.toLowerCase().includes(this.#filter);
  }
}
