// Names and languages that Gradio's own components lack; all of it is local.
(() => {
  const names = [
    ["button.tab-overflow, .overflow-menu > button", "More tabs"],
    ['input[type="range"]:not([aria-label]):not([data-slide])', "Slider"],
  ];
  const mend = () => {
    // A button may not hold a second control: the inner one keeps the part, with a name.
    for (const outer of document.querySelectorAll("button.icon-button")) {
      const inner = outer.querySelector("button, input");
      if (!inner) { continue; }
      outer.setAttribute("role", "group");
      outer.tabIndex = -1;
      for (const node of outer.querySelectorAll("button, input")) {
        if (!node.getAttribute("aria-label")) { node.setAttribute("aria-label", "Upload"); }
      }
    }
    for (const [selector, name] of names) {
      for (const node of document.querySelectorAll(selector)) {
        if (!node.getAttribute("aria-label")) { node.setAttribute("aria-label", name); }
      }
    }
  };
  let waiting = false;
  new MutationObserver(() => {
    if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; mend(); }); }
  }).observe(document, { childList: true, subtree: true });
})();
