// Which accounts are followed: chips, a field to add some, and the page's URL, which can be shared.

import { ask } from "./api.js";
import { MOST_ACCOUNTS } from "./events.js";
import { fieldError } from "./forms.js";
import { element } from "./rows.js";
import { visible } from "./text.js";

const LOOK_AFTER = 200;
const SUGGESTED = 10;
const LARGEST = 2 ** 31 - 1;
const $ = (id) => document.getElementById(id);

/** The choice. */
export class Choice {
  #accounts = new Set();
  #all = false;
  #onChange;
  #timer = 0;

  /** @param {() => void} onChange is called after each change */
  constructor(onChange) {
    this.#onChange = onChange;
    const given = new URLSearchParams(location.search).getAll("account");
    this.#all = given.includes("all");
    this.#accounts = new Set(given.map(Number).filter(isAccount).slice(0, MOST_ACCOUNTS));
    this.#show();
    $("choose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    $("add").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#suggest(), LOOK_AFTER);
    });
    $("all").addEventListener("change", ({ target }) => {
      this.#all = target.checked;
      this.#changed();
    });
    $("chips").addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      this.remove(Number(button.dataset.account));
      ($("chips").querySelector("button") ?? $("add")).focus();
    });
  }

  get isAll() {
    return this.#all;
  }

  get isEmpty() {
    return !this.#all && !this.#accounts.size;
  }

  /** What `follow` takes. */
  get accounts() {
    return this.#all ? "all" : [...this.#accounts];
  }

  has(account) {
    return this.#all || this.#accounts.has(account);
  }

  add(accounts) {
    const more = new Set([...this.#accounts, ...accounts]);
    if (more.size > MOST_ACCOUNTS) {
      fieldError("add", `That would be ${more.size} accounts: at most ${MOST_ACCOUNTS} can be followed one by one. Choose all accounts instead.`);
      return;
    }
    this.#accounts = more;
    this.#changed();
  }

  remove(account) {
    this.#accounts.delete(account);
    this.#changed();
  }

  /** Take back an account that the tracker does not know. */
  refuse(account, detail) {
    fieldError("add", detail);
    if (this.#accounts.has(account)) this.remove(account);
  }

  #changed() {
    this.#show();
    const query = this.#all ? "account=all" : [...this.#accounts].map((account) => `account=${account}`).join("&");
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    this.#onChange();
  }

  #show() {
    $("all").checked = this.#all;
    $("chips").hidden = this.#all;
    $("chips").replaceChildren(
      ...[...this.#accounts].map((account) => {
        const item = element("li", {}, String(account));
        const button = element("button", { type: "button" }, "×");
        button.setAttribute("aria-label", `Stop following ${account}`);
        button.dataset.account = account;
        item.append(button);
        return item;
      }),
    );
  }

  async #submit() {
    const text = $("add").value.trim();
    if (!text) return;
    fieldError("add", "");
    const parts = text.split(/[\s,;]+/).filter(Boolean);
    if (parts.every((part) => isAccount(Number(part)))) {
      $("add").value = "";
      this.add(parts.map(Number));
      return;
    }
    try {
      const found = await named(text);
      if (found.length === 1) {
        $("add").value = "";
        this.add([found[0].ID]);
      } else if (found.length) {
        fieldError("add", `${found.length === SUGGESTED ? "Many" : found.length} accounts have names that begin with that: write more of it, or the ID.`);
      } else {
        fieldError("add", "No account has a name that begins with that. IDs are whole numbers from 1 up, with spaces between.");
      }
    } catch (problem) {
      fieldError("add", problem.message);
    }
  }

  async #suggest() {
    const text = $("add").value.trim();
    if (text.length < 2) return;
    try {
      const found = await named(text);
      $("names").replaceChildren(...found.map(({ ID, Name }) => element("option", { value: String(ID), label: `${visible(Name)} · ${ID}` })));
    } catch {
      // No suggestions, then.
    }
  }
}

async function named(text) {
  const { body } = await ask(`/accounts?limit=${SUGGESTED}&name=${encodeURIComponent(text)}`);
  return body.Accounts;
}

function isAccount(number) {
  return Number.isInteger(number) && number >= 1 && number <= LARGEST;
}
