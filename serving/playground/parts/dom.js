// Helpers that create elements, display images and save files.

/** Create an element: `make("button", {type: "button", onclick: go}, "Go")`. Strings become text, never markup. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria")) element.setAttribute(`aria-${key.slice(4).toLowerCase()}`, value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Create a label with a caption and its controls. */
export function field(caption, ...controls) {
  return make("label", { className: "field" }, make("span", {}, caption), ...controls);
}

/** Create a button that calls `onclick`. */
export function button(caption, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, caption);
}

/** Display an encoded image in an element. The promise resolves when the image is decoded. */
export async function display(image, blob) {
  const url = (image.src = URL.createObjectURL(blob));
  await image.decode().finally(() => URL.revokeObjectURL(url));
}

/** Save a blob as a file in the user's downloads. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
