// Names and languages that Gradio's own components lack; all of it is local.
(() => {
  const names = [
    ["button.tab-overflow, .overflow-menu > button", "More tabs"],
    ['input[type="range"]:not([aria-label]):not([data-slide])', "Slider"],
  ];
  const mend = () => {
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
