// Events and gaps as rows of a table.

import { FITS, SHORT, count, full, hasParts, line, localTime } from "./text.js";

/** The events whose rows are in a document, for when they are opened. */
const shown = new WeakMap();

/**
 * The row of an event.
 * @param {object} event
 * @param {boolean} [withAccount]
 */
export function eventRow(event, withAccount = true) {
  const row = element("tr", { role: "row" });
  row.dataset.position = event.Position;
  shown.set(row, event);
  const time = element("time", { dateTime: event.Timestamp, title: event.Timestamp }, localTime(event.Timestamp));
  row.append(cell("time", time));
  if (withAccount) {
    const button = element("button", { type: "button", className: "link" }, String(event.ID));
    button.setAttribute("aria-label", `Account ${event.ID}`);
    button.dataset.account = event.ID;
    row.append(cell("account", button));
  }
  row.append(dataCell(event), cell("host", event.Host), cell("seq", String(event.Seq)));
  return row;
}

/** The row of a gap: what is missing, and why. */
export function gapRow(gap, columns = 5) {
  const row = element("tr", { role: "row", className: "gap" });
  const text = cell("gap", describeGap(gap));
  text.colSpan = columns;
  row.append(text);
  return row;
}

/** A gap in words. */
export function describeGap({ ID, FromSeq, ToSeq, Reason }) {
  if (Reason === "epoch") return "The log was lost and began anew: what was here before is not known any more.";
  const why = { trimmed: "the log keeps only the newest events of an account", expired: "the log keeps events only for so long" }[Reason] ?? Reason;
  if (ID === undefined) return `Events are gone: ${why}.`;
  const which = FromSeq === ToSeq ? `Event ${count(FromSeq)} of account ${ID} is` : `Events ${count(FromSeq)} to ${count(ToSeq)} of account ${ID} are`;
  return `${which} gone: ${why}.`;
}

/** Open or close the data of the row in which a button was pressed. */
export function toggle(button) {
  const row = button.closest("tr");
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  const { Data } = shown.get(row);
  row.querySelector(".data .text").textContent = open ? full(Data) : short(Data);
  row.classList.toggle("open", open);
}

function dataCell(event) {
  const text = element("span", { className: "text" }, short(event.Data));
  const found = cell("data", text);
  const isObject = hasParts(event.Data);
  if (isObject || line(event.Data).length > FITS || (typeof event.Data === "string" && event.Data.includes("\n"))) {
    const button = element("button", { type: "button", className: "more" }, "{ }");
    if (!isObject) button.textContent = "…";
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-label", `All data of event ${event.Seq} of account ${event.ID}`);
    found.append(button);
  }
  return found;
}

function short(data) {
  const text = line(data);
  return text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
}

function cell(name, content) {
  const found = element("td", { role: "cell", className: name });
  found.append(content);
  return found;
}

/** An element with properties and text. */
export function element(name, properties = {}, text = "") {
  const found = document.createElement(name);
  Object.assign(found, properties);
  if (text) found.textContent = text;
  return found;
}
