// A comparison of an image and its translation with a slider. A smaller original is enlarged by the browser.

import { display, make } from "../parts/dom.js";

/** Create the comparison. Return its element and `show(original, translated)`, which takes two blobs. */
export function compareView() {
  const original = make("img", { alt: "Original image" });
  const translated = make("img", { alt: "Translated image", className: "translated" });
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, ariaLabel: "Visible part of the original image" });
  const [first, second] = [make("span"), make("span")];
  const captions = make("figcaption", {}, first, second);
  const stage = make("div", { className: "compare" }, original, translated, slider);
  const element = make("figure", {}, stage, captions);
  slider.oninput = () => {
    stage.style.setProperty("--at", `${slider.value}%`);
    slider.ariaValueText = `${slider.value}% original`;
  };
  slider.oninput();

  const show = async (before, after) => {
    await Promise.all([display(original, before), display(translated, after)]);
    const larger = translated.naturalWidth > original.naturalWidth;
    [first.textContent, second.textContent] = larger ? ["Enlarged by the browser", "Enlarged by the model"] : ["Original", "Translated"];
    stage.classList.toggle("tiny", !larger && translated.naturalWidth <= 64);
  };
  return { element, show };
}
