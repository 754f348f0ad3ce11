// A request to the server, described once: it can be sent, and shown as curl and as Python.
//
// A call is {path}, to GET; {path, json}, to POST an object; or {path, image, name}, to POST an image as the body.
// It may say which version of a model it is made for.

const KEY = "ganzoo-key";

/** The event that tells that a model is of another version than the call was made for. */
export const STALE = "ganzoo-stale";

/** What went wrong, in words for people; `status` is HTTP's, 0 where there was no answer. */
export class Problem extends Error {
  constructor(message, { status = 0, code = "", id = "" } = {}) {
    super(message);
    Object.assign(this, { status, code, id });
  }

  /** Whether the server may do better in a second: it is busy, and did not work at this in vain. */
  get passes() {
    return this.status === 429 || (this.status === 503 && this.code !== "too_late");
  }
}

let kept = null;

/** Keep the key that the server wants, for as long as this tab is open, if the browser lets us. */
export function keepKey(key) {
  kept = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // until the page is loaded again
  }
}

function key() {
  try {
    return kept ?? sessionStorage.getItem(KEY);
  } catch {
    return kept;
  }
}

/** Send a call: the answer, a Response of status 200. A busy server is asked three times; else a Problem is thrown. */
export async function send(call, signal) {
  for (let attempt = 1; ; attempt++) {
    const answer = await ask(call, signal);
    const version = answer.headers.get("x-model-version");
    if (version && call.version && version !== call.version) dispatchEvent(new Event(STALE));
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (problem.code === "unknown_version") dispatchEvent(new Event(STALE));
    if (!problem.passes || attempt === 3) throw problem;
    await pause(1000 * (Number(answer.headers.get("retry-after")) || 1), signal);
  }
}

/** The media type of what a call sends, if it sends anything. */
const typeOf = (call) => (call.json ? "application/json" : call.image && "application/octet-stream");

async function ask(call, signal) {
  const headers = typeOf(call) ? { "Content-Type": typeOf(call) } : {};
  if (key()) headers["Authorization"] = `Bearer ${key()}`;
  const body = call.json ? JSON.stringify(call.json) : call.image;
  try {
    return await fetch(call.path, { method: body ? "POST" : "GET", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. It may have ended, or the connection is lost.");
  }
}

async function problemOf(answer) {
  const { status } = answer;
  const { error, request_id: id } = await answer.json().catch(() => ({}));
  if (!error) return new Problem(`The server answered with status ${status}.`, { status });
  return new Problem(error.message, { status, code: error.code, id });
}

const pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

const address = (call) => new URL(call.path, document.baseURI).href;
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Write a call as a command for a shell; what comes goes to a file. */
export function asCurl(call, out) {
  const words = ["curl --fail-with-body"];
  if (key()) words.push('-H "Authorization: Bearer $GANZOO_KEY"');
  if (typeOf(call)) words.push(`-H 'Content-Type: ${typeOf(call)}'`);
  if (call.json) words.push(`-d ${quoted(JSON.stringify(call.json))}`);
  if (call.image) words.push(`--data-binary ${quoted(`@${call.name}`)}`);
  return [...words, `-o ${quoted(out)} ${quoted(address(call))}`].join(" \\\n    ");
}

/** Write a call as a Python script that needs nothing but Python; what comes goes to a file. */
export function asPython(call, out) {
  const modules = [call.json && "json", key() && "os", "urllib.request"].filter(Boolean).join(", ");
  const headers = [
    typeOf(call) && `"Content-Type": "${typeOf(call)}"`,
    key() && `"Authorization": "Bearer " + os.environ["GANZOO_KEY"]`,
  ];
  const body = call.json
    ? `json.dumps(${pythonic(call.json)}).encode()`
    : call.image
      ? `Path(${JSON.stringify(call.name)}).read_bytes()`
      : "None";
  return [
    `import ${modules}`,
    "from pathlib import Path",
    "",
    "request = urllib.request.Request(",
    `    ${JSON.stringify(address(call))},`,
    `    ${body},`,
    `    {${headers.filter(Boolean).join(", ")}},`,
    ")",
    `Path(${JSON.stringify(out)}).write_bytes(urllib.request.urlopen(request).read())`,
  ].join("\n");
}

/** Write numbers, texts, and lists and objects of them, as Python does. */
function pythonic(value) {
  if (Array.isArray(value)) return `[${value.map(pythonic).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, each]) => `"${name}": ${pythonic(each)}`).join(", ")}}`;
}
