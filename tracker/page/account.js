// One account: its state, and its history, paged backwards.

import { ask } from "./api.js";
import { eventRow, gapRow, toggle } from "./rows.js";
import { exact, visible } from "./text.js";

const PAGE = 50;
const $ = (id) => document.getElementById(id);

/** The dialog about an account. */
export class AccountDialog {
  #id = 0;
  #active = true;
  #before = "end";
  #choice;

  /** @param {import("./choice.js").Choice} choice of the accounts that are followed */
  constructor(choice) {
    this.#choice = choice;
    $("account-close").addEventListener("click", () => $("account").close());
    $("older").addEventListener("click", () => this.#loadOlder());
    $("account-toggle").addEventListener("click", () => this.#change(!this.#active));
    $("account-follow").addEventListener("click", () => {
      if (choice.has(this.#id)) choice.remove(this.#id);
      else choice.add([this.#id]);
      this.#showFollowed();
    });
    $("history").addEventListener("click", ({ target }) => {
      const button = target.closest("button.more");
      if (button) toggle(button);
    });
  }

  /** Show an account. */
  async open(id) {
    this.#id = id;
    this.#before = "end";
    $("account-title").textContent = `Account ${id}`;
    for (const part of ["account-name", "account-state", "account-error"]) $(part).textContent = "";
    $("account-toggle").hidden = true;
    $("history").replaceChildren();
    this.#showFollowed();
    if (!$("account").open) $("account").showModal();
    await Promise.all([this.#load(), this.#loadOlder()]);
  }

  async #load() {
    await this.#try(async (id) => this.#show(id, (await ask(`/${id}`)).body));
  }

  async #change(active) {
    await this.#try(async (id) => {
      this.#show(id, (await ask(`/${id}`, { method: "PATCH", body: JSON.stringify({ IsActive: active }) })).body);
    });
  }

  async #loadOlder() {
    const before = this.#before;
    $("older").disabled = true;
    await this.#try(async (id) => {
      const { text } = await ask(`/events?account=${id}&before=${before}&limit=${PAGE}`);
      const body = exact(text);
      if (id !== this.#id || before !== this.#before) return;
      this.#before = body.Position;
      const found = [...body.Events.map((event) => [event.Seq, eventRow(event, false)]), ...body.Gaps.map((gap) => [gap.ToSeq ?? 0, gapRow(gap, 4)])];
      found.sort(([one], [other]) => other - one);
      $("history").append(...found.map(([, row]) => row));
      $("older").disabled = body.Behind === 0;
      $("older").textContent = body.Behind ? "Older" : "No older events";
    });
  }

  #show(id, { Name, IsActive }) {
    if (id !== this.#id) return;
    this.#active = IsActive;
    $("account-name").textContent = visible(Name);
    $("account-state").textContent = IsActive ? "Active: takes events" : "Not active: events are refused";
    $("account-state").dataset.active = IsActive;
    $("account-toggle").textContent = IsActive ? "Deactivate" : "Activate";
    $("account-toggle").hidden = false;
  }

  #showFollowed() {
    $("account-follow").textContent = this.#choice.has(this.#id) ? "Stop following" : "Follow";
    $("account-follow").hidden = this.#choice.isAll;
  }

  async #try(step) {
    const id = this.#id;
    try {
      $("account-error").textContent = "";
      await step(id);
    } catch (problem) {
      if (id !== this.#id) return;
      $("account-error").textContent = problem.message;
      $("older").disabled = false;
    }
  }
}
