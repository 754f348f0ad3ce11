// Thumbnails of the models.

import { send } from "./call.js";
import { display, make } from "./dom.js";
import { directions, isTiny, pictureCall } from "./model.js";

/** Create the thumbnail of a model: the image of seed 0, or an arrow for a translation model. */
export function thumbnail(model) {
  if (model.task === "translate") {
    return make("span", { className: "thumbnail", ariaHidden: "true" }, directions(model).length > 1 ? "⇄" : "→");
  }
  const image = make("img", { className: "thumbnail", alt: "", width: 36, height: 36 });
  image.classList.toggle("tiny", isTiny(model));
  const shown = async () => display(image, await (await send(pictureCall(model, 0))).blob());
  shown().catch(() => {}); // the model's own view shows the error
  return image;
}
