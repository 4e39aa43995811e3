// Requests to the tracker that served this page.

const PATIENCE = 10_000;

/** What the tracker refused, or why it could not be asked. `status` is 0 if there was no answer. */
export class Problem extends Error {
  constructor(detail, status = 0) {
    super(detail);
    this.status = status;
  }
}

/**
 * Ask the tracker.
 * @param {string} path
 * @param {{method?: string, body?: string, type?: string}} [request]
 * @returns {Promise<{body: any, text: string, headers: Headers}>} the answer's JSON, or null if it is empty; and as it came
 * @throws {Problem} with the detail that the tracker gave
 */
export async function ask(path, { method = "GET", body, type = "application/json" } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = type;
  let response, text;
  try {
    response = await fetch(path, { method, body, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    text = await response.text();
  } catch {
    throw new Problem("The tracker does not answer.");
  }
  let json = null;
  try {
    if (text) json = JSON.parse(text);
  } catch {
    // A proxy in front may answer in its own words.
  }
  if (!response.ok) throw new Problem(json?.detail ?? `The answer was ${response.status}.`, response.status);
  return { body: json, text, headers: response.headers };
}
