// What is looked at stands in the page's address, so that it can be sent to somebody.

/** Give the address's words as an object. */
export const read = () => Object.fromEntries(new URLSearchParams(location.search));

/** Write some words into the address; empty ones leave it. The browser's way back leads to `visit`s alone. */
export const write = (changes) => history.replaceState(null, "", changed(changes));

/** Go to a model. */
export const visit = (model) => history.pushState(null, "", hrefOf(model));

/** The address of a model. */
export const hrefOf = (model) => `?${new URLSearchParams({ model })}`;

function changed(changes) {
  const words = Object.entries({ ...read(), ...changes }).filter(([, value]) => value !== "");
  return `?${new URLSearchParams(words)}`;
}
