// A call as code, with a tab for each language and a copy button.

import { asCurl, asPython } from "./call.js";
import { button, make } from "./dom.js";

const LANGUAGES = { curl: asCurl, Python: asPython };

/** Create a block that shows a call as code. Return its element and `show(call, out)`, which shows another call. */
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
  const block = make("details", { className: "code" }, make("summary", {}, "API request"), bar, make("pre", {}, text));
  return { block, show: (call, out) => show([call, out]) };
}

/** Copy an element's text to the clipboard. Without TLS, `navigator.clipboard` is not available. */
async function copyText(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
}
