// A call as code: two tabs and a button that copies.

import { asCurl, asPython } from "./call.js";
import { button, make } from "./dom.js";

const LANGUAGES = { curl: asCurl, Python: asPython };

/** Make a block that shows a call as code; give its element, and the function that shows another call. */
export function codeBlock() {
  let shown = [];
  let language = "curl";
  const text = make("code", { tabIndex: 0 });
  const copy = button("Copy", async () => {
    await copyText(text);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  const tabs = Object.keys(LANGUAGES).map((name) => button(name, () => show(shown, name)));
  const show = (call, wanted = language) => {
    [shown, language] = [call, wanted];
    text.textContent = LANGUAGES[wanted](...call);
    for (const tab of tabs) tab.ariaPressed = String(tab.textContent === wanted);
  };
  const bar = make("div", { className: "row" }, ...tabs, copy);
  const block = make("details", { className: "code" }, make("summary", {}, "As code"), bar, make("pre", {}, text));
  return { block, show: (call, out) => show([call, out]) };
}

/** Copy an element's text; without TLS, browsers offer but the old way. */
async function copyText(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
}
