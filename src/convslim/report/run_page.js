"use strict";
(() => {
  const tip = document.getElementById("tip");
  let now = null;

  // The title of a mark becomes the page's own tooltip: at once, and by the keyboard too.
  for (const mark of document.querySelectorAll(".mark")) {
    const title = mark.querySelector("title");
    mark.dataset.words = title.textContent;
    title.remove();
  }

  function show(mark, x, y) {
    now?.classList.remove("now");
    now = mark;
    mark.classList.add("now");
    tip.textContent = mark.dataset.words;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(6, Math.min(x + 12, innerWidth - box.width - 6))}px`;
    tip.style.top = `${y + 16 + box.height < innerHeight ? y + 16 : Math.max(6, y - box.height - 10)}px`;
  }

  function hide() {
    now?.classList.remove("now");
    now = null;
    tip.hidden = true;
  }

  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest?.(".mark");
    if (mark) show(mark, event.clientX, event.clientY);
    else if (event.pointerType === "mouse") hide();
  });
  document.addEventListener("pointerdown", (event) => {
    const mark = event.target.closest?.(".mark");
    if (mark) show(mark, event.clientX, event.clientY);
    else hide();
  });
  document.addEventListener("scroll", hide, { passive: true, capture: true });

  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const plot = event.target.closest?.(".plot");
    if (!plot || !(event.key in steps || event.key === "Home" || event.key === "End")) return;
    const marks = [...plot.querySelectorAll(".mark")];
    if (!marks.length) return;
    event.preventDefault();
    const place = marks.indexOf(now);
    const next = event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1
      : place < 0 ? (steps[event.key] > 0 ? 0 : marks.length - 1)
        : Math.min(marks.length - 1, Math.max(0, place + steps[event.key]));
    const box = marks[next].getBoundingClientRect();
    show(marks[next], box.x + box.width / 2, box.y + box.height / 2);
  });
  document.addEventListener("focusout", hide);

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy).textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      }
    });
  }
})();
