// The stream of events, without any view: usable by itself.
//
//   import { follow } from "https://tracker.example/page/events.js";
//   const stream = follow({ accounts: [1, 2], onFrame: (frame) => console.log(frame), url: "https://tracker.example/events" });
//   stream.close();

/** How many accounts a stream takes, other than all: their IDs stand in a URL. */
export const MOST_ACCOUNTS = 200;

const FIRST_DELAY = 500;
const LONGEST_DELAY = 30_000;
const OPENS_WITHIN = 10_000;
const LOOK_EVERY = 5_000;
const ASLEEP_AFTER = 15_000;
/** Close codes after which it makes no sense to come again as before. */
const FINAL = new Set([1003, 1007, 1008, 1009]);

/**
 * What `onState` gets.
 * @typedef {{name: "connecting"} | {name: "catching-up", behind: number | null} | {name: "live"} |
 *   {name: "offline", retryAt: number} | {name: "ended", reason: string}} State
 * `retryAt` is in ms since 1970. After "ended" nothing follows.
 */

/**
 * Follow the events of accounts, over WebSocket. It connects again by itself, with growing, jittered delays, and goes on
 * after the last frame it had: nothing is missed and nothing comes twice; what the log no longer has comes as a gap frame.
 *
 * @param {object} options
 * @param {"all" | Iterable<number>} options.accounts at most MOST_ACCOUNTS IDs
 * @param {string} [options.since] where to begin: a Position, a duration such as "10m", a time, or "all"; without it, now
 * @param {(frame: object) => void} options.onFrame is called with each event (`ID`, `Timestamp`, `Data`, `Host`,
 *   `Position`, `Seq`) and each control frame (told apart by the key `Frame`), in order
 * @param {(state: State) => void} [options.onState] is called when the connection's state changes
 * @param {string | URL} [options.url] of `/events`, by default of the server of the page
 * @returns {Stream}
 */
export function follow(options) {
  return new Stream(options);
}

/** A stream under way. */
class Stream {
  #wanted;
  #onFrame;
  #onState;
  #url;
  #socket = null;
  #timer = 0;
  #attempts = 0;
  #lookedAt = Date.now();
  #looking;
  #behind = null;
  #state = "";

  constructor({ accounts, since = "", onFrame, onState = () => {}, url = "/events" }) {
    /** The Position after which the stream goes on when it connects again. */
    this.position = since;
    this.#wanted = wanted(accounts);
    this.#onFrame = onFrame;
    this.#onState = onState;
    this.#url = new URL(url, globalThis.location?.href);
    this.#looking = setInterval(() => this.#look(), LOOK_EVERY);
    addEventListener("online", this.retry);
    addEventListener("pageshow", this.#shown);
    this.#connect();
  }

  /** Follow other accounts from now on. Frames of accounts that were left come no more. */
  setAccounts(accounts) {
    const before = this.#wanted;
    this.#wanted = wanted(accounts);
    if (before === null && this.#wanted === null) return;
    if (before === null || this.#wanted === null || this.#socket?.readyState !== WebSocket.OPEN) {
      this.retry();
      return;
    }
    const wish = {};
    const added = [...this.#wanted].filter((account) => !before.has(account));
    const left = [...before].filter((account) => !this.#wanted.has(account));
    if (added.length) wish.Follow = added;
    if (left.length) wish.Unfollow = left;
    if (added.length || left.length) this.#socket.send(JSON.stringify(wish));
    if (added.length) this.#tell({ name: "catching-up", behind: this.#behind }); // they are followed from a ready frame on
  }

  /** Connect again, now. */
  retry = () => {
    if (this.#state === "ended") return;
    this.#attempts = 0;
    this.#connect();
  };

  /** End it. */
  close() {
    this.#end("closed");
  }

  #connect() {
    this.#drop();
    this.#tell({ name: "connecting" });
    const socket = new WebSocket(this.#address("ws"));
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(socket, 1006, ""), OPENS_WITHIN);
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#behind = null;
      this.#tell({ name: "catching-up", behind: null });
      if (this.position) this.#ask(socket);
    };
    socket.onmessage = ({ data }) => this.#take(socket, data);
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
  }

  #address(scheme) {
    const url = new URL(this.#url);
    url.protocol = scheme + (/^(https|wss):$/.test(url.protocol) ? "s:" : ":");
    const query = url.searchParams;
    if (this.#wanted === null) query.set("account", "all");
    else for (const account of this.#wanted) query.append("account", account);
    if (this.position) query.set("since", this.position);
    return url;
  }

  /** Ask by HTTP what a WebSocket can't tell: how much there is to catch up with, or why it was refused. */
  async #ask(socket) {
    if (this.#wanted !== null && !this.#wanted.size) return;
    const url = this.#address("http");
    url.searchParams.set("limit", "1");
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" }, cache: "no-store" });
      const answer = await response.json();
      if (socket !== this.#socket) return;
      if (response.status >= 400 && response.status < 500) this.#end(answer.detail);
      else if (response.ok && this.#state === "catching-up") this.#comeTo(answer.Events.length + answer.Behind);
    } catch {
      // No answer, no figure.
    }
  }

  #take(socket, data) {
    for (const text of data.split("\n")) {
      if (socket !== this.#socket) return; // the last frame led to another connection
      if (text) this.#frame(JSON.parse(text));
    }
  }

  #frame(frame) {
    if (frame.Position) this.position = frame.Position;
    if (frame.Frame === undefined) {
      if (this.#wanted !== null && !this.#wanted.has(frame.ID)) return;
      if (this.#behind) this.#comeTo(this.#behind - 1);
    } else if (frame.Frame === "ready") {
      this.#attempts = 0;
      this.#behind = null;
      this.#tell({ name: "live" });
    } else if (frame.Frame === "lagging") {
      this.#comeTo(frame.Behind);
    } else if (frame.Frame === "bye" && !frame.Retry) {
      this.#onFrame(frame);
      this.#end(frame.Reason);
      return;
    }
    this.#onFrame(frame);
  }

  #comeTo(behind) {
    this.#behind = behind;
    this.#tell({ name: "catching-up", behind });
  }

  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#drop();
    if (FINAL.has(code)) {
      this.#end(reason || `The tracker closed the connection with ${code}.`);
      return;
    }
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#attempts);
    const delay = longest * (0.5 + Math.random() / 2); // jitter: else all who lost a tracker come back at once
    this.#attempts += 1;
    this.#tell({ name: "offline", retryAt: Date.now() + delay });
    this.#timer = setTimeout(() => this.#connect(), delay);
    if (this.#attempts > 1) this.#ask(this.#socket);
  }

  #drop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #end(reason) {
    if (this.#state === "ended") return;
    this.#drop();
    clearInterval(this.#looking);
    removeEventListener("online", this.retry);
    removeEventListener("pageshow", this.#shown);
    this.#tell({ name: "ended", reason });
  }

  #shown = (event) => {
    if (event.persisted) this.retry();
  };

  /** A connection that slept may be gone without a word: what was missed is in the log. */
  #look() {
    const asleep = Date.now() - this.#lookedAt > ASLEEP_AFTER;
    this.#lookedAt = Date.now();
    if (asleep && !document.hidden) this.retry();
  }

  #tell(state) {
    this.#state = state.name;
    this.#onState(state);
  }
}

function wanted(accounts) {
  if (accounts === "all") return null;
  const found = new Set(accounts);
  if (found.size > MOST_ACCOUNTS) throw new RangeError(`${found.size} accounts: expected at most ${MOST_ACCOUNTS}, or "all".`);
  return found;
}
