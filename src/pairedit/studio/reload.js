// The tab that is open stands behind the # of the address, so that a reload comes back to it.
(() => {
  "use strict";
  const tabs = () => [...document.querySelectorAll("#tabs [role=tab]")];
  const named = (tab) => tab.textContent.trim().toLowerCase();
  const note = () => {
    const open = tabs().find((tab) => tab.getAttribute("aria-selected") === "true");
    if (open) history.replaceState(null, "", `#${named(open)}`);
  };
  // Gradio opens tabs of itself, too, such as when a run is to be played with.
  const watch = () => new MutationObserver(note).observe(
    document.querySelector("#tabs [role=tablist]"),
    { subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
  const wanted = decodeURIComponent(location.hash.slice(1));
  const find = () => {
    if (!tabs().length) return requestAnimationFrame(find);
    const tab = tabs().find((each) => named(each) === wanted);
    if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
    watch();
  };
  find();
})();
