// For one HTML component: its forms, buttons and sliders speak to the server through Gradio.
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  if (button) { button.disabled = true; }
  trigger("submit", { ...form.dataset, ...Object.fromEntries(new FormData(form)) });
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (button) { button.disabled = true; trigger("submit", { ...button.dataset }); }
});
element.addEventListener("input", (event) => {
  const slider = event.target.closest("[data-slide]");
  if (slider) { slider.closest(".l-ba").style.setProperty("--at", slider.value + "%"); }
});
