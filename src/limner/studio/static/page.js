// Names and languages that Gradio's own components lack; all of it is local.
(() => {
  const names = [
    ["button.tab-overflow, .overflow-menu > button", "More tabs"],
    ['input[type="range"]:not([aria-label]):not([data-slide])', "Slider"],
  ];
  const mend = () => {
    // A button may not hold a second thing to focus; the button itself opens the file dialogue.
    for (const node of document.querySelectorAll('button.icon-button input[type="file"]')) {
      node.inert = true;
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
