"use strict";
(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const canvas = document.getElementById("canvas");
  const svg = canvas.querySelector("svg");
  const details = document.getElementById("details");
  const hint = details.firstElementChild;
  const tools = document.querySelector(".tools");
  const nodes = [...svg.querySelectorAll(".node")];
  const lines = [...svg.querySelectorAll(".lines path")];
  const body = document.querySelector("table tbody");
  const rows = [...body.rows];
  const from = nodes.map(() => []);
  const to = nodes.map(() => []);
  for (const line of lines) {
    from[line.dataset.from].push(line);
    to[line.dataset.to].push(line);
  }
  const layers = new Map();
  for (const layer of record.layers) {
    layers.set(layer.module, (layers.get(layer.module) ?? 0) + layer.macs);
  }
  let chosen = null;

  // Text reaches the page through textContent alone, so that no name can become markup.
  function make(tag, text, ...children) {
    const element = document.createElement(tag);
    element.textContent = text;
    element.append(...children);
    return element;
  }

  function code(name) {
    const parts = name.split(/(?<=\.)/).flatMap((part) => [document.createElement("wbr"), part]);
    return make("code", "", ...parts.slice(1));
  }

  function percent(part, whole) {
    const share = whole ? (100 * part) / whole : 0;
    return share > 0 && share < 0.1 ? "<\u00a00.1\u00a0%" : `${share.toFixed(share > 0 && share < 9.95 ? 1 : 0)}\u00a0%`;
  }

  function block(title, items) {
    return items.length ? [make("h4", title), make("ul", "", ...items)] : [];
  }

  function layerItem(module) {
    const macs = layers.get(module);
    const cost = make("span", macs ? ` ${macs.toLocaleString("en")} MACs` : "");
    cost.className = "soft";
    return make("li", "", code(module || "(the model itself)"), cost);
  }

  // One item a reason, operation and line; the modules that share them together.
  function placeItems(places) {
    const found = new Map();
    for (const place of places) {
      const key = JSON.stringify([place.reason, place.operation, place.source]);
      found.set(key, [...(found.get(key) ?? []), place]);
    }
    return [...found.values()].map((same) => {
      const item = make("li", same[0].reason);
      const modules = same.map((place) => place.module).filter(Boolean);
      for (const [word, names] of [["line", [same[0].source]], ["operation", [same[0].operation]], ["in", modules]]) {
        const named = names.filter(Boolean).flatMap((name) => [", ", code(name)]).slice(1);
        if (named.length) item.append(make("div", `${word} `, ...named));
      }
      for (const line of item.children) line.className = "soft";
      return item;
    });
  }

  function groupItem(number) {
    const link = make("a", "", ...code(record.groups[number].name).childNodes);
    link.href = `#node-${number}`;
    return make("li", "", link);
  }

  function axisItem(axis) {
    const times = axis.multiplicity > 1 ? `, ${axis.multiplicity} positions a channel` : "";
    const item = make("li", "", code(axis.tensor), make("span", ` dim ${axis.dim}, ${axis.role}${times}`));
    item.lastChild.className = "soft";
    return item;
  }

  function describe(number) {
    const group = record.groups[number];
    const state = group.pins.length ? "pinned" : group.exact ? "prunable" : "approximate";
    const tag = make("span", state);
    tag.className = `state ${state}`;
    const numbers = make(
      "p",
      `${group.channels.toLocaleString("en")} channels. With them go ${group.macs.toLocaleString("en")} MACs ` +
        `(${percent(group.macs, record.macs)}) and ${group.params.toLocaleString("en")} parameters ` +
        `(${percent(group.params, record.params)}).`,
    );
    numbers.className = "numbers";
    const parts = [make("h3", "", ...code(group.name).childNodes), tag, numbers];
    if (number === chosen) {
      const close = make("button", "×");
      close.className = "close";
      close.setAttribute("aria-label", "Close");
      close.addEventListener("click", () => choose(null));
      parts.unshift(close);
    }
    return [
      ...parts,
      ...block("Pinned, because", placeItems(group.pins)),
      ...block("Approximate, because", placeItems(group.approximations)),
      ...block("Bound", group.constraints.map((sentence) => make("li", sentence))),
      ...block("Made by", group.producers.map(layerItem)),
      ...block("Read by", group.consumers.map(layerItem)),
      ...block("Made from", to[number].map((line) => groupItem(line.dataset.from))),
      ...block("Read to make", from[number].map((line) => groupItem(line.dataset.to))),
      ...block("Stands on", group.axes.map(axisItem)),
    ];
  }

  function show(number) {
    for (const element of svg.querySelectorAll(".near")) element.classList.remove("near");
    svg.classList.toggle("lit", number !== null);
    if (number === null) {
      details.replaceChildren(hint);
      return;
    }
    nodes[number].classList.add("near");
    for (const line of [...from[number], ...to[number]]) {
      line.classList.add("near");
      line.parentNode.append(line);
      nodes[line.dataset.from].classList.add("near");
      nodes[line.dataset.to].classList.add("near");
    }
    details.replaceChildren(...describe(number));
    details.scrollTop = 0;
  }

  function choose(number) {
    if (chosen !== null) nodes[chosen].classList.remove("chosen");
    for (const row of rows) row.classList.toggle("chosen", Number(row.dataset.number) === number);
    chosen = number;
    if (number !== null) nodes[number].classList.add("chosen");
    history.replaceState(null, "", number === null ? location.pathname + location.search : `#node-${number}`);
    show(number);
  }

  function reveal(number) {
    const box = nodes[number].getBoundingClientRect();
    const view = canvas.getBoundingClientRect();
    canvas.scrollLeft += box.x + box.width / 2 - view.x - view.width / 2;
    // Above the middle, because on a phone the description covers the lower part.
    canvas.scrollTop += box.y - view.y - view.height / 3;
  }

  function visit(number) {
    choose(number);
    tools.scrollIntoView();
    reveal(number);
  }

  nodes.forEach((node, number) => {
    node.addEventListener("click", (event) => {
      event.preventDefault();
      choose(number === chosen ? null : number);
    });
    node.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(number));
    node.addEventListener("pointerleave", () => show(chosen));
    node.addEventListener("focus", () => node.matches(":focus-visible") && show(number));
    node.addEventListener("blur", () => show(chosen));
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#node-"]');
    if (!link || svg.contains(link)) return;
    event.preventDefault();
    visit(Number(link.hash.slice(6)));
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && choose(null));

  // Zoom and pan: the drawing is scaled, the box around it scrolls.
  const width = svg.viewBox.baseVal.width;
  const height = svg.viewBox.baseVal.height;
  let scale = 1;
  function zoom(wanted, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const next = Math.min(3, Math.max(0.08, wanted));
    const left = (canvas.scrollLeft + x) / scale;
    const top = (canvas.scrollTop + y) / scale;
    scale = next;
    svg.style.width = `${width * scale}px`;
    svg.style.height = `${height * scale}px`;
    canvas.scrollLeft = left * scale - x;
    canvas.scrollTop = top * scale - y;
  }
  const across = () => (canvas.clientWidth - 2) / width;
  const steps = {
    in: () => zoom(scale * 1.25),
    out: () => zoom(scale / 1.25),
    full: () => zoom(1),
    fit: () => zoom(Math.min(1, across(), (canvas.clientHeight - 2) / height)),
  };
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", steps[button.dataset.zoom]);
  }
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const view = canvas.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - view.x, event.clientY - view.y);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || event.target.closest(".node")) return;
    const start = [event.clientX + canvas.scrollLeft, event.clientY + canvas.scrollTop];
    const move = (next) => canvas.scrollTo(start[0] - next.clientX, start[1] - next.clientY);
    canvas.classList.add("held");
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", () => {
      canvas.classList.remove("held");
      document.removeEventListener("pointermove", move);
    }, { once: true });
  });

  // Search and states: the table hides what does not match, the drawing fades it.
  const search = document.getElementById("search");
  const states = [...document.querySelectorAll("[data-state][type=checkbox]")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  function sift() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set(states.filter((box) => box.checked).map((box) => box.dataset.state));
    let count = 0;
    texts.forEach((text, place) => {
      const row = rows[place];
      const fits = shown.has(row.dataset.state) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      nodes[row.dataset.number].classList.toggle("hidden", !fits);
      count += fits;
    });
    document.getElementById("found").textContent = count < rows.length ? `${count} of ${rows.length} groups` : "";
  }
  search.addEventListener("input", sift);
  search.addEventListener("keydown", (event) => {
    const first = rows.find((row) => !row.hidden);
    if (event.key !== "Enter" || !first) return;
    choose(Number(first.dataset.number));
    reveal(chosen);
  });
  for (const box of states) box.addEventListener("change", sift);

  // Sorting: numbers by value, the rest by text; the first click on numbers puts the largest on top.
  const headings = [...document.querySelectorAll("thead th")];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const numeric = heading.classList.contains("number");
    const was = heading.getAttribute("aria-sort");
    const upwards = was ? was === "descending" : !numeric;
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = numeric ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
    body.append(...[...rows].sort((a, b) => (upwards ? 1 : -1) * compare(a, b)));
  }));

  // Small enough to see much, large enough to read.
  zoom(Math.min(1, Math.max(across(), canvas.clientWidth > 600 ? 0.7 : 0.6)));
  if (nodes.length) reveal(0);
  canvas.scrollTop = 0;
  const linked = /^#node-(\d+)$/.exec(location.hash);
  // The browser scrolls to the address's target by itself, when all is loaded; then it is the page's turn.
  if (linked && nodes[linked[1]]) addEventListener("load", () => setTimeout(visit, 0, Number(linked[1])));
})();
