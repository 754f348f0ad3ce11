// Sources of the image to translate: a file, the clipboard, or a sample of another model.

import { send } from "../parts/call.js";
import { make } from "../parts/dom.js";
import { anySeed, drawsVectors, pictureCall } from "../parts/model.js";
import { thumbnail } from "../parts/thumbnail.js";

const KINDS = "image/png,image/jpeg,image/webp";

/** Create the image picker. It calls `take(fetch, name)`, where `fetch(signal)` returns a promise of a blob. */
export function sourcesView(models, take) {
  const given = ([file]) => file && take(async () => file, file.name || "pasted.png");
  const chosen = () => {
    given(input.files);
    input.value = ""; // allows choosing the same file again
  };
  const input = make("input", { type: "file", accept: KINDS, onchange: chosen });
  const words = make("span", {}, make("strong", {}, "Choose an image"), ", drop it here, or paste one.");
  const note = make("small", {}, "PNG, JPEG or WebP. The image is sent only to this server and is not stored.");
  const zone = make("label", { className: "drop" }, input, words, note);
  dropInto(zone, given);
  pasteFor(zone, given);
  const drawing = models.filter((model) => model.task === "sample" && !drawsVectors(model));
  if (!drawing.length) return zone;
  const others = drawing.map((model) => drawnBy(model, take));
  return make("div", {}, zone, make("p", { className: "row" }, "Or use a sample of another model:", ...others));
}

function dropInto(zone, given) {
  const over = (event) => zone.classList.toggle("over", event.type === "dragover");
  zone.ondragover = zone.ondragleave = over;
  zone.ondrop = (event) => {
    over(event);
    given(event.dataTransfer.files);
  };
}

/** Accept images pasted anywhere on the page while the drop zone exists. */
function pasteFor(zone, given) {
  const pasted = (event) => {
    if (!zone.isConnected) return removeEventListener("paste", pasted);
    given(event.clipboardData.files);
  };
  addEventListener("paste", pasted);
}

function drawnBy(model, take) {
  const draw = () => {
    const seed = anySeed();
    const fetch = async (signal) => (await send(pictureCall(model, seed), signal)).blob();
    take(fetch, `${model.name}-${seed}.png`);
  };
  const properties = { type: "button", onclick: draw, title: model.name, ariaLabel: `Sample of ${model.name}` };
  return make("button", properties, thumbnail(model));
}
