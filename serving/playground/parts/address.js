// The state of the page is stored in the URL parameters, so that it can be shared and bookmarked.

/** Return the URL parameters as an object. */
export const read = () => Object.fromEntries(new URLSearchParams(location.search));

/** Set URL parameters; an empty value removes one. This adds no entry to the browser history, unlike `visit`. */
export const write = (changes) => history.replaceState(null, "", changed(changes));

/** Set the address to that of a model, as a new entry of the browser history. */
export const visit = (model) => history.pushState(null, "", hrefOf(model));

/** Return the address of a model. */
export const hrefOf = (model) => `?${new URLSearchParams({ model })}`;

function changed(changes) {
  const words = Object.entries({ ...read(), ...changes }).filter(([, value]) => value !== "");
  return `?${new URLSearchParams(words)}`;
}
