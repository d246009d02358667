// The site's explorer of a committed grid of results: a slider per axis over settings that were really run.
// It computes no statistics: `widgets.explorer` in badnets_lib wrote means, intervals and sentences into the page
// as JSON. Where this script cannot run, or cannot read them, the table inside the element is shown; in print too.
"use strict";

(() => {
  // ---- The data --------------------------------------------------------------------------------

  /** The grid in the page: {axes, start, cells}; throws TypeError or SyntaxError if it is not one. */
  function read(text) {
    const grid = JSON.parse(text);
    const check = (right, what) => {
      if (!right) throw new TypeError(`the explorer's data have no proper ${what}`);
    };
    const { axes, start, cells } = grid ?? {};
    check(Array.isArray(axes) && axes.length > 0 && axes.every(isAxis), "axes");
    check(isLogarithmic(axes.at(-1).values), "last axis");
    check(Array.isArray(start) && axes.every(({ values }, place) => [...values.keys()].includes(start[place])), "start");
    const size = axes.reduce((product, axis) => product * axis.values.length, 1);
    check(Array.isArray(cells) && cells.length === size && cells.every(isCell), "cells");
    return grid;
  }

  const isText = (x) => typeof x === "string";
  const isShare = (x) => typeof x === "number" && x >= 0 && x <= 1;
  const isAxis = (axis) =>
    isText(axis?.label) && isText(axis.unit) && Array.isArray(axis.values) && axis.values.length > 0 &&
    axis.values.every(Number.isFinite) && axis.texts?.length === axis.values.length && axis.texts.every(isText);
  const isLogarithmic = (values) => values.length > 1 && values[0] > 0 && values.every((x, i) => i === 0 || x > values[i - 1]);
  const isCurve = (curve) =>
    [1, 3].includes(curve?.spread?.length) && curve.spread.every(isShare) &&
    Array.isArray(curve.seeds) && curve.seeds.every(isShare);
  const isCell = (cell) => isText(cell?.text) && isCurve(cell.success) && isCurve(cell.clean);

  /** The cell at one index per axis; the last axis runs fastest. */
  const cellAt = ({ axes, cells }, indices) =>
    cells[indices.reduce((place, index, axis) => place * axes[axis].values.length + index, 0)];

  // ---- The picture -----------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 236, 40, 346, 32, 188];
  const CURVES = [
    { name: "success", title: "ASR", kind: "backdoored", legend: LEFT },
    { name: "clean", title: "clean accuracy", kind: "clean", legend: LEFT + 90 },
  ];

  function draw(name, settings, ...inside) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(settings)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  }

  const line = (x1, y1, x2, y2, kind) => draw("line", { x1, y1, x2, y2, class: kind });
  const words = (x, y, text, anchor = "middle") => draw("text", { x, y, "text-anchor": anchor }, text);
  const path = (points, kind) => draw("path", { d: `M${points.map((p) => p.join(" ")).join("L")}`, class: kind });
  const height = (share) => BOTTOM + (TOP - BOTTOM) * share;

  /** The mark of a curve: a square for the backdoor, a circle for clean accuracy. */
  const mark = (x, y, r, kind, more = "mark") =>
    kind === "clean"
      ? draw("circle", { cx: x, cy: y, r, class: `${kind} ${more}` })
      : draw("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, class: `${kind} ${more}` });

  /** Where the values lie on a logarithmic axis. */
  function places(values) {
    const [first, last] = [Math.log(values[0]), Math.log(values.at(-1))];
    return values.map((value) => LEFT + 14 + ((RIGHT - LEFT - 28) * (Math.log(value) - first)) / (last - first));
  }

  /** Grid lines and labels; labels that would overlap are left out. */
  function frame({ label, texts }, x) {
    const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
      line(LEFT, height(share), RIGHT, height(share), "grid"),
      words(LEFT - 6, height(share) + 4, `${100 * share}%`, "end"),
    ]);
    let free = 0;
    texts.forEach((text, index) => {
      const reach = 3.5 * text.length;
      parts.push(line(x[index], BOTTOM, x[index], BOTTOM + 4, "tick"));
      if (x[index] - reach < free) return;
      parts.push(words(x[index], BOTTOM + 17, text));
      free = x[index] + reach + 4;
    });
    return [...parts, words((LEFT + RIGHT) / 2, HEIGHT - 6, `${label} (log scale)`)];
  }

  /** One measure along the last axis: band, single seeds, line, marks; and its entry in the legend. */
  function curve({ name, title, kind, legend }, cells, x, chosen) {
    const spreads = cells.map((cell) => cell[name].spread);
    const banded = spreads.every((spread) => spread.length === 3);
    const side = (which) => spreads.map((spread, index) => [x[index], height(spread[which])]);
    const means = side(0);
    const dots = cells.flatMap((cell, index) =>
      cell[name].seeds.map((share) => mark(x[index], height(share), 2, kind, "seed")));
    return [
      ...(banded ? [path([...side(1), ...side(2).reverse()], `${kind} band`)] : []),
      ...dots,
      path(means, `${kind} curve`),
      ...means.map(([at, y], index) => mark(at, y, index === chosen ? 5 : 2.8, kind)),
      path([[legend, 12], [legend + 26, 12]], `${kind} curve`),
      mark(legend + 13, 12, 2.8, kind),
      words(legend + 32, 16, title, "start"),
    ];
  }

  /** Both curves along the last axis, at the chosen place of the others. */
  function picture(grid, indices) {
    const [along, chosen] = [grid.axes.at(-1), indices.at(-1)];
    const cells = along.values.map((_, index) => cellAt(grid, [...indices.slice(0, -1), index]));
    const x = places(along.values);
    const fixed = grid.axes.slice(0, -1).map(({ label, texts }, axis) => `${label} ${texts[indices[axis]]}`);
    const spoken = cells.map((cell, index) => {
      const means = CURVES.map(({ name, title }) => `${title} ${Math.round(100 * cell[name].spread[0])}%`);
      return `${along.texts[index]}: ${means.join(", ")}`;
    });
    const label = `Curves along ${along.label}${fixed.length ? ` at ${fixed.join(", ")}` : ""}. ${spoken.join("; ")}.`;
    const settings = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label };
    const marker = line(x[chosen], TOP - 6, x[chosen], BOTTOM, "chosen");
    return draw("svg", settings, ...frame(along, x), marker, ...CURVES.flatMap((each) => curve(each, cells, x, chosen)));
  }

  function caption(cell) {
    const seeds =
      cell.success.spread.length === 3
        ? "Bands are 95% intervals of the mean over seeds, faint marks are single seeds."
        : "One seed, so there are no bands.";
    return `Squares and dashes are the ASR, circles and full lines clean accuracy. ${seeds}`;
  }

  // ---- The element -----------------------------------------------------------------------------

  const STYLE = `
    :host { display: block; margin-block: 1.5rem; }
    .box {
      padding: 1rem 1.2rem; border: 1px solid var(--pst-color-border, #d9dfe5); border-radius: 6px;
      background: var(--pst-color-surface, #f4f6f8); color: var(--pst-color-text-base, #14212e); line-height: 1.5;
    }
    .row { display: grid; grid-template-columns: minmax(8.5rem, 14rem) 1fr 4rem; gap: 0 0.8rem; align-items: center; }
    output { text-align: right; font-variant-numeric: tabular-nums; }
    input { accent-color: var(--bn-clean-text, #00639b); margin: 0; width: 100%; height: 2.75rem; cursor: pointer; touch-action: pan-y; }
    :is(input, button):focus-visible { outline: 3px solid var(--bn-clean-text, #00639b); outline-offset: 2px; border-radius: 3px; }
    .result { margin: 0.6rem 0; font-weight: 600; min-height: 3em; font-variant-numeric: tabular-nums; }
    .wrong { font-style: italic; }
    .spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    svg { display: block; width: 100%; max-width: 34rem; height: auto; }
    .caption { margin: 0.3rem 0 0.8rem; font-size: 0.88em; color: var(--pst-color-text-muted, #55626f); }
    text { fill: var(--pst-color-text-base, #14212e); font-size: 12px; font-family: inherit; }
    .grid { stroke: var(--pst-color-border, #d9dfe5); }
    .tick { stroke: var(--pst-color-text-muted, #55626f); }
    .chosen { stroke: var(--pst-color-text-base, #14212e); stroke-width: 1.2; }
    .clean { fill: var(--bn-clean, #0072b2); stroke: var(--bn-clean, #0072b2); }
    .backdoored { fill: var(--bn-backdoored, #d55e00); stroke: var(--bn-backdoored, #d55e00); }
    .curve { fill: none; stroke-width: 1.8; }
    .backdoored.curve { stroke-dasharray: 5 3; }
    .band { stroke: none; fill-opacity: 0.18; }
    .seed { stroke: none; fill-opacity: 0.4; }
    button {
      font: inherit; font-size: 0.9em; padding: 0.35rem 0.9rem; min-height: 2.75rem; border-radius: 4px; cursor: pointer;
      color: inherit; background: transparent; border: 1px solid var(--pst-color-text-muted, #55626f);
    }
    .box + .fallback { display: none; }
    @media (max-width: 500px) {
      .box { padding: 0.8rem; }
      .row { grid-template-columns: 1fr auto; }
      .row input { grid-column: 1 / -1; grid-row: 2; }
    }
    @media print { .box, .wrong { display: none; } .box + .fallback { display: block; } }
    @media (forced-colors: active) { .clean, .backdoored { forced-color-adjust: none; } }
  `; // nothing moves by itself, so there is no motion to reduce

  const SPEAK_AFTER = 400; // milliseconds of rest before a screen reader is told
  const UNREADABLE = "The interactive figure could not be read; the table holds the same numbers.";

  function make(tag, settings, ...inside) {
    const node = Object.assign(document.createElement(tag), settings);
    node.append(...inside);
    return node;
  }

  class Explorer extends HTMLElement {
    connectedCallback() {
      if (this.shadowRoot) return;
      const fallback = make("div", { className: "fallback" }, make("slot", {}));
      const root = this.attachShadow({ mode: "open" });
      try {
        this.data = read(this.querySelector("script[type='application/json']")?.textContent ?? "");
      } catch (error) {
        if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
        root.append(make("style", {}, STYLE), make("p", { className: "wrong" }, UNREADABLE), fallback);
        return;
      }
      root.append(make("style", {}, STYLE), this.box(), fallback);
      this.reset();
      this.speak();
    }

    box() {
      this.result = make("p", { className: "result" });
      this.result.setAttribute("aria-hidden", "true"); // a screen reader gets the same words from the status
      this.status = make("div", { className: "spoken" });
      this.status.setAttribute("role", "status");
      this.figure = make("div", {});
      const reset = make("button", { type: "button" }, "Back to the start");
      reset.addEventListener("click", () => this.reset());
      const box = make("div", { className: "box" });
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Explorer of measured results");
      this.rows = this.data.axes.map((axis, place) => this.row(axis, `axis-${place}`));
      box.append(...this.rows.map(({ row }) => row), this.figure, this.result, this.status, reset);
      return box;
    }

    row({ label, values }, id) {
      const input = make("input", { type: "range", id, min: 0, max: values.length - 1, step: 1 });
      input.addEventListener("input", () => this.changed());
      const output = make("output", { htmlFor: id });
      output.setAttribute("aria-live", "off"); // the slider itself says its value
      return { input, output, row: make("div", { className: "row" }, make("label", { htmlFor: id }, label), input, output) };
    }

    reset() {
      this.rows.forEach(({ input }, axis) => { input.value = this.data.start[axis]; });
      this.changed();
    }

    changed() {
      const indices = this.rows.map(({ input }) => Number(input.value));
      this.rows.forEach(({ input, output }, place) => {
        const { texts, unit } = this.data.axes[place];
        output.value = texts[indices[place]];
        input.setAttribute("aria-valuetext", `${output.value} ${unit}`.trim());
      });
      const cell = cellAt(this.data, indices);
      this.result.textContent = cell.text;
      this.figure.replaceChildren(picture(this.data, indices), make("p", { className: "caption" }, caption(cell)));
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.speak(), SPEAK_AFTER);
    }

    speak() {
      clearTimeout(this.waiting);
      this.status.textContent = this.result.textContent;
    }
  }

  if (!customElements.get("bn-explorer")) customElements.define("bn-explorer", Explorer);
})();
