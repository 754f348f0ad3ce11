// A comparison of two images of the same size with a slider.

import { display, make } from "../parts/dom.js";

/** Create the comparison. Return its element and `show(original, translated)`, which takes two blobs. */
export function compareView() {
  const original = make("img", { alt: "Original image" });
  const translated = make("img", { alt: "Translated image", className: "translated" });
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, ariaLabel: "Visible part of the original image" });
  const captions = make("figcaption", {}, make("span", {}, "Original"), make("span", {}, "Translated"));
  const stage = make("div", { className: "compare" }, original, translated, slider);
  const element = make("figure", {}, stage, captions);
  slider.oninput = () => {
    stage.style.setProperty("--at", `${slider.value}%`);
    slider.ariaValueText = `${slider.value}% original`;
  };
  slider.oninput();

  const show = async (before, after) => {
    await Promise.all([display(original, before), display(translated, after)]);
    stage.classList.toggle("tiny", translated.naturalWidth <= 64);
  };
  return { element, show };
}
