// Before the first paint, so that a chosen theme does not flash; and the switch itself.
"use strict";
(() => {
  const themes = ["auto", "light", "dark"];
  let theme = localStorage.getItem("theme");
  if (!themes.includes(theme)) theme = "auto";
  const apply = () => { document.documentElement.dataset.theme = theme; };
  apply();
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => { button.textContent = `Theme: ${theme}`; };
    label();
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      localStorage.setItem("theme", theme);
      apply();
      label();
    });
  });
})();
