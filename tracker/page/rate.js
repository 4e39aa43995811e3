// How busy the trackers are: a line of five minutes, and whose events they are.

import { ask } from "./api.js";
import { element } from "./rows.js";
import { count } from "./text.js";

const EVERY = 1000;
const WIDTH = 300;
const HEIGHT = 60;

const $ = (id) => document.getElementById(id);

/**
 * Show the rates, once a second while the page is visible.
 * @param {(account: number) => void} onAccount is called when one of the busiest accounts is chosen
 * @param {(problem: import("./api.js").Problem | null) => void} onAnswer is called with what each question came to
 */
export function watchRates(onAccount, onAnswer) {
  $("busiest").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) onAccount(Number(button.dataset.account));
  });
  const look = async () => {
    if (!document.hidden) {
      try {
        const { body } = await ask("/rates");
        show(body);
        onAnswer(null);
      } catch (problem) {
        $("rate").textContent = "–";
        onAnswer(problem);
      }
    }
    setTimeout(look, EVERY);
  };
  look();
}

function show({ Rate, Minute, FiveMinutes, Seconds, Trackers, Busiest }) {
  $("rate").textContent = count(Rate);
  $("minute").textContent = `${count(Minute)}/s`;
  $("five").textContent = `${count(FiveMinutes)}/s`;
  const peak = Math.max(...Seconds);
  $("peak").textContent = `peak ${count(peak)}/s`;
  draw(Seconds, Math.max(peak, 1));
  $("line").setAttribute("aria-label", `Events a second over five minutes: now ${count(Rate)}, at most ${count(peak)}, on average ${count(FiveMinutes)}`);
  $("trackers").replaceChildren(
    ...Trackers.map(({ Host, Rate }) => {
      const item = element("li");
      item.append(element("span", {}, Host), element("span", {}, `${count(Rate)}/s`));
      return item;
    }),
  );
  showBusiest(Busiest.slice(0, 8));
}

function draw(seconds, peak) {
  const step = WIDTH / (seconds.length - 1);
  const points = seconds.map((events, n) => `${(n * step).toFixed(1)} ${(HEIGHT - 2 - (events / peak) * (HEIGHT - 6)).toFixed(1)}`);
  $("curve").setAttribute("d", `M${points.join("L")}`);
  $("area").setAttribute("d", `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`);
}

function showBusiest(accounts) {
  const list = $("busiest");
  if (list.contains(document.activeElement)) return; // nothing moves under the finger
  list.replaceChildren(
    ...accounts.map(({ ID, Minute }) => {
      const item = element("li");
      const button = element("button", { type: "button", className: "link" }, String(ID));
      button.setAttribute("aria-label", `Account ${ID}`);
      button.dataset.account = ID;
      const meter = element("meter", { max: Math.max(accounts[0].Minute, 0.01), value: Minute });
      meter.setAttribute("aria-label", `Events a second of account ${ID}`);
      item.append(button, meter, element("span", {}, `${count(Minute)}/s`));
      return item;
    }),
  );
}
