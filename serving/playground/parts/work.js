// Work that takes a while in a part of the page.

import { keepKey } from "./call.js";
import { button, field, make } from "./dom.js";

/**
 * Make a function that runs work for a place: meanwhile the place is marked busy, what is newer takes the place of
 * what is older, and what comes of it is told in a line below, to screen readers too.
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

/** Tell what went wrong, and offer what may help: a key where one is wanted, else another try. */
export function told(problem, again) {
  const about = problem.id ? make("small", {}, `request ${problem.id}`) : "";
  const remedy = problem.status === 401 ? keyForm(again) : button("Try again", again);
  return make("span", { className: "problem", role: "alert" }, problem.message, about, remedy);
}

function keyForm(again) {
  const plain = { pattern: "[\\x21-\\x7e]+", title: "Letters, digits and signs of ASCII" };
  const input = make("input", { type: "password", autocomplete: "off", required: true, ...plain });
  const submitted = (event) => {
    event.preventDefault();
    keepKey(input.value);
    again();
  };
  return make("form", { onsubmit: submitted }, field("Key", input), make("button", {}, "Use it"));
}
