"use strict";
(() => {
  // The large comparison borrows the pictures of the rows below it, so the page holds each only once.
  const compare = document.querySelector(".compare");
  if (compare) {
    const [is, was] = ["is", "was"].map((name) => compare.querySelector("." + name));
    const caption = document.getElementById("compare-caption");
    const tabs = [...document.querySelectorAll(".tabs button")];
    const show = (tab) => {
      const view = document.getElementById(tab.dataset.view);
      for (const [target, name] of [[was, "before"], [is, "after"]]) {
        const source = view.querySelector("img." + name);
        target.src = source.src;
        target.alt = source.alt;
      }
      compare.style.setProperty("--aspect", view.style.getPropertyValue("--aspect"));
      caption.textContent = view.querySelector("h3").textContent;
      for (const other of tabs) other.setAttribute("aria-pressed", String(other === tab));
    };
    for (const tab of tabs) tab.addEventListener("click", () => show(tab));
    const slider = document.querySelector(".slider");
    const split = (percent) => {
      slider.value = percent;
      compare.style.setProperty("--split", percent + "%");
    };
    slider.addEventListener("input", () => split(slider.value));
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = compare.getBoundingClientRect();
      split(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
    };
    for (const type of ["pointerdown", "pointermove"]) compare.addEventListener(type, drag);
    show(tabs[0]);
    document.getElementById("compare").hidden = false;
  }
  const filter = document.getElementById("only-flagged");
  if (filter) {
    filter.closest(".tools").hidden = false;
    filter.addEventListener("change", () => {
      for (const row of document.querySelectorAll("table.filtered tbody tr"))
        row.hidden = filter.checked && !row.classList.contains("flagged");
    });
  }
})();
