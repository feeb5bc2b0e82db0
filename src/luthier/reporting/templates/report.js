(function () {
  "use strict";
  var root = document.documentElement;
  var system = window.matchMedia("(prefers-color-scheme: dark)");
  var button = document.querySelector(".theme");
  var chosen = null;
  try { chosen = localStorage.getItem("luthier-theme"); } catch (error) { chosen = null; }

  function show() {
    var dark = chosen ? chosen === "dark" : system.matches;
    root.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  }
  button.hidden = false;
  button.addEventListener("click", function () {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("luthier-theme", chosen); } catch (error) { /* a page without storage forgets */ }
    show();
  });
  system.addEventListener("change", show);
  show();

  var opened = [];
  window.addEventListener("beforeprint", function () {
    root.dataset.theme = "light";
    opened = Array.prototype.filter.call(document.querySelectorAll("details:not(figure details)"), function (one) { return !one.open; });
    opened.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (one) { one.open = false; });
    show();
  });
})();
