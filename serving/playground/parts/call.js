// A request to the server. It can be sent, or shown as a curl command or a Python script.
//
// A call is an object:
//   {path}               GET
//   {path, json}         POST with a JSON body
//   {path, image, name}  POST with an image as the body
// The optional field `version` is the version of the model that the call was created for.

const KEY = "ganzoo-key";

/** Name of the event that is dispatched when the version of a model differs from the version of the call. */
export const STALE = "ganzoo-stale";

/** An error with a message for the user. `status` is the HTTP status, or 0 if there was no response. */
export class Problem extends Error {
  constructor(message, { status = 0, code = "", id = "" } = {}) {
    super(message);
    Object.assign(this, { status, code, id });
  }

  /** Return whether a retry may succeed: the server is busy, and the request did not exceed its time limit. */
  get passes() {
    return this.status === 429 || (this.status === 503 && this.code !== "too_late");
  }
}

let kept = null;

/** Store the API key until the tab is closed, or until a reload if the browser has no session storage. */
export function keepKey(key) {
  kept = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // the key is lost when the page is reloaded
  }
}

function key() {
  try {
    return kept ?? sessionStorage.getItem(KEY);
  } catch {
    return kept;
  }
}

/** Send a call and return the successful Response. Retry up to twice if the server is busy, else throw a Problem. */
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

/** Return the media type of the call's body, or a falsy value if it has no body. */
const typeOf = (call) => (call.json ? "application/json" : call.image && "application/octet-stream");

async function ask(call, signal) {
  const headers = typeOf(call) ? { "Content-Type": typeOf(call) } : {};
  if (key()) headers["Authorization"] = `Bearer ${key()}`;
  const body = call.json ? JSON.stringify(call.json) : call.image;
  try {
    return await fetch(call.path, { method: body ? "POST" : "GET", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server can't be reached. It may have stopped, or the connection is lost.");
  }
}

async function problemOf(answer) {
  const { status } = answer;
  const { error, request_id: id } = await answer.json().catch(() => ({}));
  if (!error) return new Problem(`The server returned HTTP status ${status}.`, { status });
  return new Problem(error.message, { status, code: error.code, id });
}

const pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

const address = (call) => new URL(call.path, document.baseURI).href;
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return a curl command that sends the call and saves the response as the file `out`. */
export function asCurl(call, out) {
  const words = ["curl --fail-with-body"];
  if (key()) words.push('-H "Authorization: Bearer $API_KEY"');
  if (typeOf(call)) words.push(`-H 'Content-Type: ${typeOf(call)}'`);
  if (call.json) words.push(`-d ${quoted(JSON.stringify(call.json))}`);
  if (call.image) words.push(`--data-binary ${quoted(`@${call.name}`)}`);
  return [...words, `-o ${quoted(out)} ${quoted(address(call))}`].join(" \\\n    ");
}

/** Return a Python script, without dependencies, that sends the call and saves the response as the file `out`. */
export function asPython(call, out) {
  const modules = [call.json && "json", key() && "os", "urllib.request"].filter(Boolean).join(", ");
  const headers = [
    typeOf(call) && `"Content-Type": "${typeOf(call)}"`,
    key() && `"Authorization": "Bearer " + os.environ["API_KEY"]`,
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

/** Convert numbers, strings, arrays and objects to Python literals. */
function pythonic(value) {
  if (Array.isArray(value)) return `[${value.map(pythonic).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, each]) => `"${name}": ${pythonic(each)}`).join(", ")}}`;
}
