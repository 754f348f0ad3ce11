// Asynchronous work with a busy state, a status line and error messages.

import { keepKey } from "./call.js";
import { button, field, make } from "./dom.js";

/**
 * Create a function `run(words, work)` that runs work for an element. The element has `aria-busy` while the work runs.
 * A new run aborts the previous one. `line` is a live region: it shows `words` first, then the result or the error.
 */
export function worker(place, line) {
  let current;
  line.role = "status";
  return async function run(words, work) {
    current?.abort();
    const mine = (current = new AbortController());
    place.ariaBusy = "true";
    line.replaceChildren(words);
    try {
      const said = await work(mine.signal);
      if (mine === current) line.replaceChildren(said ?? "");
    } catch (problem) {
      if (mine === current) line.replaceChildren(told(problem, () => run(words, work)));
    } finally {
      if (mine === current) place.ariaBusy = "false";
    }
  };
}

/** Create an error message with a retry button, or with a form for the API key if the status is 401. */
export function told(problem, again) {
  const about = problem.id ? make("small", {}, `Request ID: ${problem.id}`) : "";
  const remedy = problem.status === 401 ? keyForm(again) : button("Try again", again);
  return make("span", { className: "problem", role: "alert" }, problem.message, about, remedy);
}

function keyForm(again) {
  const plain = { pattern: "[\\x21-\\x7e]+", title: "ASCII letters, digits and symbols, without spaces" };
  const input = make("input", { type: "password", autocomplete: "off", required: true, ...plain });
  const submitted = (event) => {
    event.preventDefault();
    keepKey(input.value);
    again();
  };
  return make("form", { onsubmit: submitted }, field("API key", input), make("button", {}, "Submit"));
}
