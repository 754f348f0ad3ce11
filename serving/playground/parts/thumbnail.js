// A small picture that a model draws, or a sign of what it does.

import { send } from "./call.js";
import { display, make } from "./dom.js";
import { directions, isTiny, pictureCall } from "./model.js";

/** Make the thumbnail of a model: the picture of seed 0, or arrows where it translates. */
export function thumbnail(model) {
  if (model.task === "translate") {
    return make("span", { className: "thumbnail", ariaHidden: "true" }, directions(model).length > 1 ? "⇄" : "→");
  }
  const image = make("img", { className: "thumbnail", alt: "", width: 36, height: 36 });
  image.classList.toggle("tiny", isTiny(model));
  const shown = async () => display(image, await (await send(pictureCall(model, 0))).blob());
  shown().catch(() => {}); // what is wrong is told where the model is asked in earnest
  return image;
}
