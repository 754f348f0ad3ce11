// The page: the list of models and the view of the selected model.

import { hrefOf, read, visit } from "./parts/address.js";
import { Problem, STALE, send } from "./parts/call.js";
import { card } from "./views/card.js";
import { make } from "./parts/dom.js";
import { sizeOf } from "./parts/model.js";
import { samplingView } from "./views/sampling.js";
import { thumbnail } from "./parts/thumbnail.js";
import { translatingView } from "./views/translating.js";
import { told } from "./parts/work.js";

const VIEWS = { sample: samplingView, translate: translatingView };

const nav = document.querySelector("#models");
const main = document.querySelector("#main");
let server = { models: [], limits: {} };
let asked = 0; // time of the last request for the models, in milliseconds

async function start() {
  asked = Date.now();
  try {
    server = await (await send({ path: "v1/models" })).json();
    if (!server.models.length) throw new Problem("The server has no models at the moment.");
    nav.replaceChildren(make("ul", {}, ...server.models.map(entryOf)));
    show();
  } catch (problem) {
    main.replaceChildren(make("p", { className: "notice" }, told(problem, start)));
  }
}

/** Show the model in the address, or the first model if the address names no available model. */
function show() {
  const model = server.models.find(({ name }) => name === read().model) ?? server.models[0];
  document.title = `${model.name} · GAN Zoo`;
  for (const link of nav.querySelectorAll("a")) {
    link.ariaCurrent = link.dataset.model === model.name ? "page" : null;
    if (link.ariaCurrent) link.scrollIntoView({ block: "nearest" });
  }
  const words = [model.entry, sizeOf(model), `${model.provider}, version ${model.version}`];
  const title = make("header", {}, make("h2", {}, model.name), make("p", { className: "about" }, words.join(" · ")));
  main.replaceChildren(title, ...VIEWS[model.task](model, server.limits, server.models), card(model));
}

function entryOf(model) {
  const link = make("a", { href: hrefOf(model.name), onclick: followed }, thumbnail(model), model.name);
  link.dataset.model = model.name;
  return make("li", {}, link);
}

function followed(event) {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return; // opens in a new tab or window
  event.preventDefault();
  visit(event.currentTarget.dataset.model);
  show();
  main.focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

function skipped(event) {
  event.preventDefault(); // the fragment would change the address
  main.focus();
}

document.querySelector(".skip").onclick = skipped;
addEventListener("popstate", show);
// An artifact was replaced. During a rollout the versions of the replicas differ, so reload at most every 5 seconds.
addEventListener(STALE, () => Date.now() - asked > 5000 && start());
// Dropping a file outside the drop zone must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
start();
