// The page: what is followed, what is shown of it, and how the connection is.

import { AccountDialog } from "./account.js";
import { Choice } from "./choice.js";
import { follow } from "./events.js";
import { listenToForms } from "./forms.js";
import { EventList } from "./list.js";
import { watchRates } from "./rate.js";
import { count, exact } from "./text.js";

/** How many events are kept while the list is paused; beyond that the log keeps them. */
const PAUSED_MOST = 5000;
const ANNOUNCE_EVERY = 10_000;

const $ = (id) => document.getElementById(id);

const choice = new Choice(() => {
  if (paused?.left) return; // the stream begins anew when it goes on
  if (state.name === "ended") stream = open(stream.position); // as it was, it was refused
  else stream.setAccounts(choice.accounts);
  showEmpty();
});
const dialog = new AccountDialog(choice);
const list = new EventList($("rows"), (account) => dialog.open(account));

/** While paused: the frames since then, or `left`, from where on the log has them. */
let paused = null;
let state = { name: "connecting" };
let logAway = null;
let unannounced = 0;
let stream = open("");

listenToForms(choice);
watchRates(
  (account) => dialog.open(account),
  (problem) => {
    if (problem?.status === 0 && !logAway && state.name === "live") stream.retry(); // is that connection still one?
    logAway = problem;
    showConnection();
  },
);
$("filter").addEventListener("input", ({ target }) => {
  list.filter = target.value;
});
$("pause").addEventListener("click", () => (paused ? resume() : pause()));
setInterval(showConnection, 500);
setInterval(announce, ANNOUNCE_EVERY);
showEmpty();

function open(since) {
  return follow({ accounts: choice.accounts, since, onFrame: take, onState: (now) => ((state = now), showConnection()) });
}

function take(frame, text) {
  if (paused && !paused.from && frame.Frame === "ready") paused.from = frame.Position; // paused before the stream began
  if (typeof frame.Data === "number" || typeof frame.Data === "object") frame = exact(text);
  if (frame.Frame === "error") {
    if (frame.ID) choice.refuse(frame.ID, frame.Detail);
    else notice(frame.Detail);
  } else if (frame.Frame === undefined || frame.Frame === "gap") {
    if (paused) keep(frame);
    else show(frame);
  }
}

function show(frame) {
  if (list.isEmpty) $("empty").hidden = true;
  list.add(frame);
  unannounced += frame.Frame === undefined;
}

function pause() {
  paused = { frames: [], from: stream.position, left: false };
  $("pause").textContent = "Resume";
  $("pause").classList.add("on");
}

function keep(frame) {
  paused.frames.push(frame);
  $("pause").textContent = `Resume (${count(paused.frames.length)} new)`;
  if (paused.frames.length >= PAUSED_MOST && paused.from) {
    paused.frames = [];
    paused.left = true;
    stream.close();
    $("pause").textContent = `Resume (over ${count(PAUSED_MOST)} new)`;
    showConnection();
  }
}

function resume() {
  const { frames, from, left } = paused;
  paused = null;
  $("pause").textContent = "Pause";
  $("pause").classList.remove("on");
  frames.forEach(show);
  if (left) stream = open(from);
}

function showConnection() {
  const { name, text, more = "" } = connection();
  $("connection").dataset.state = name;
  if ($("connection-text").textContent !== text) $("connection-text").textContent = text;
  $("connection-more").textContent = more;
  document.title = `${name === "live" ? "" : `${text} · `}Events · trio-tracker`;
}

function connection() {
  if (paused?.left) return { name: "paused", text: "Paused", more: ": the log keeps what comes" };
  if (state.name === "ended") return { name: "offline", text: "Offline", more: `: ${state.reason}` };
  if (state.name === "offline") {
    const seconds = Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));
    return { name: "offline", text: "Offline", more: `: next try in ${seconds} s` };
  }
  if (logAway && logAway.status !== 0) return { name: "offline", text: "Offline", more: `: ${logAway.message}` };
  if (state.name === "catching-up") return { name: "catching-up", text: "Catching up", more: state.behind ? `: ${count(state.behind)} behind` : "" };
  return state.name === "live" ? { name: "live", text: "Live" } : { name: "connecting", text: "Connecting" };
}

function showEmpty() {
  $("empty").hidden = !list.isEmpty;
  $("empty").textContent = choice.isEmpty ? "Choose accounts, or all of them, to see their events here." : "Waiting for events.";
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
}

/** Now and then, for who can't see the list: how much came, not each event. */
function announce() {
  if (unannounced) $("announcer").textContent = `${count(unannounced)} new ${unannounced === 1 ? "event" : "events"}`;
  unannounced = 0;
}
