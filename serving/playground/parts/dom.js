// Elements made in one line, and bytes shown or handed to the reader.

/** Make an element: `make("button", {type: "button", onclick: go}, "Go")`. Text is text, never markup. */
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

/** Put a caption and a control together. */
export function field(caption, ...controls) {
  return make("label", { className: "field" }, make("span", {}, caption), ...controls);
}

/** Make a button that does something. */
export function button(caption, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, caption);
}

/** Show an encoded image in an element; the promise ends when it is there. */
export async function display(image, blob) {
  const url = (image.src = URL.createObjectURL(blob));
  await image.decode().finally(() => URL.revokeObjectURL(url));
}

/** Save bytes as a file of the reader's. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
