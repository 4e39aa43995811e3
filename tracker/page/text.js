// Text for people: whatever is in an event's data, it is shown, and does nothing.

/** How many characters of data a row shows before it is opened. */
export const SHORT = 300;
/** How many it has room for on the narrowest screen: a row with more can be opened. */
export const FITS = 32;

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Text with what can't be seen, or changes how the rest is seen (controls, directions), made visible, as JSON would escape it.
 * @param {string} text
 * @param {boolean} [lines] whether ends of lines and tabs may stay
 */
export function visible(text, lines = false) {
  return text.replace(HIDDEN, (character) => {
    if (lines && (character === "\n" || character === "\t")) return character;
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** What JSON says, with the numbers that JavaScript would write differently (1.10, 2^64) as they are written there. */
export function exact(json) {
  if (!JSON.rawJSON) return JSON.parse(json);
  return JSON.parse(json, (_, value, { source }) => (typeof value === "number" && String(value) !== source ? JSON.rawJSON(source) : value));
}

/** Whether data have parts: they are shown over several lines when they are opened. */
export function hasParts(data) {
  return typeof data === "object" && data !== null && !JSON.isRawJSON?.(data);
}

/** An event's data on one line: a string as it is, anything else as JSON. */
export function line(data) {
  return visible(typeof data === "string" ? data : JSON.stringify(data));
}

/** An event's data at full length: JSON over several lines. */
export function full(data) {
  return visible(typeof data === "string" ? data : JSON.stringify(data, null, 2), true);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** The local time of an RFC 3339 timestamp, with the day if it is not today's. */
export function localTime(timestamp) {
  const time = new Date(timestamp);
  const today = time.toDateString() === new Date().toDateString();
  return today ? clock.format(time) : `${day.format(time)} ${clock.format(time)}`;
}

const numbers = new Intl.NumberFormat("en");

/** A number with its thousands told apart; below ten with a decimal, if it has one. */
export function count(number) {
  return numbers.format(number < 10 ? Math.round(number * 10) / 10 : Math.round(number));
}
