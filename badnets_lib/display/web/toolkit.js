// What the book's interactive elements share: making HTML and SVG, controls, a chart, their style, and their frame.
"use strict";

badnets.define("toolkit", [], () => {
  const SVG = "http://www.w3.org/2000/svg";
  const SPEAK_AFTER = 400; // milliseconds of rest before a screen reader is told

  // ---- Making nodes ------------------------------------------------------------------------------

  /** An HTML element; settings are properties, those with a dash and `role` attributes, `on...` listeners. */
  function make(tag, settings = {}, ...inside) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(settings)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key.includes("-") || key === "role") node.setAttribute(key, value);
      else node[key] = value;
    }
    node.append(...inside);
    return node;
  }

  /** An SVG element; settings are attributes. */
  function draw(tag, settings, ...inside) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(settings)) node.setAttribute(key, String(value));
    node.append(...inside);
    return node;
  }

  const button = (text, onclick, settings = {}) => make("button", { type: "button", onclick, ...settings }, text);

  let controls = 0;

  /** A control with its label, and what it says beside it. */
  function field(text, control, ...more) {
    control.id ||= `bn-${(controls += 1)}`;
    return make("div", { className: "field" }, make("label", { htmlFor: control.id }, text), control, ...more);
  }

  /** A slider with its label and its value in words. */
  function slider(label, settings) {
    const output = make("output", { "aria-live": "off" }); // the slider itself says its value
    const input = make("input", { type: "range", ...settings });
    const row = make("div", { className: "slider" }, make("label", {}, label), input, output);
    input.id ||= `bn-${(controls += 1)}`;
    row.querySelector("label").htmlFor = input.id;
    output.htmlFor = input.id;
    const show = (text, unit = "") => {
      output.value = text;
      input.setAttribute("aria-valuetext", `${text} ${unit}`.trim());
    };
    return { row, input, output, show };
  }

  /** A list to choose from. */
  function choice(options, value, onchange) {
    const entries = options.map(([key, text]) => make("option", { value: key }, String(text)));
    const select = make("select", { onchange }, ...entries);
    select.value = String(value);
    return select;
  }

  function table(caption, heads, rows) {
    const cell = (content) => (content instanceof Node ? content : make("td", {}, String(content)));
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    const body = rows.map(([first, ...rest]) =>
      make("tr", {}, make("th", { scope: "row" }, String(first)), ...rest.map(cell))
    );
    return make(
      "div",
      { className: "scroller", tabIndex: 0, role: "group", "aria-label": caption },
      make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)),
    );
  }

  // ---- Charts ------------------------------------------------------------------------------------

  const line = (x1, y1, x2, y2, kind) => draw("line", { x1, y1, x2, y2, class: kind });
  const words = (x, y, text, anchor = "middle") => draw("text", { x, y, "text-anchor": anchor }, text);
  const path = (points, kind) =>
    draw("path", { d: points.length ? `M${points.map((p) => p.join(" ")).join("L")}` : "", class: kind });

  /** The mark of a kind: a square for the backdoor, a circle for what is clean. */
  const mark = (
    x,
    y,
    r,
    kind,
    more = "mark",
  ) => (kind === "clean"
    ? draw("circle", { cx: x, cy: y, r, class: `${kind} ${more}` })
    : draw("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, class: `${kind} ${more}` }));

  const picture = (width, height, label, ...inside) =>
    draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...inside);

  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 236, 40, 346, 32, 188];
  const MARGIN = 14; // between the ends of the axis and the first and last place
  const LEGEND = 90; // width of an entry
  const across = (place) => LEFT + MARGIN + (RIGHT - LEFT - 2 * MARGIN) * place;
  const height = (rate) => BOTTOM + (TOP - BOTTOM) * rate;
  const laid = (points) => points.map(([place, rate]) => [across(place), height(rate)]);

  /** Grid, scale from 0 to 100%, and the ticks of the axis; texts that would overlap are left out. */
  function frame({ title, ticks }) {
    const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((rate) => [
      line(LEFT, height(rate), RIGHT, height(rate), "grid"),
      words(LEFT - 6, height(rate) + 4, `${100 * rate}%`, "end"),
    ]);
    let free = 0;
    for (const { place, text } of ticks) {
      const x = across(place);
      const reach = 3.5 * text.length;
      parts.push(line(x, BOTTOM, x, BOTTOM + 4, "tick"));
      if (x - reach < free) continue;
      parts.push(words(x, BOTTOM + 17, text));
      free = x + reach + 4;
    }
    return [...parts, words((LEFT + RIGHT) / 2, HEIGHT - 6, title)];
  }

  /** One curve: band, faint marks, line and marks; and its entry in the legend. */
  function curve({ title, kind, points, band = [], dots = [], chosen = -1 }, order) {
    const legend = LEFT + order * LEGEND;
    return [
      ...(band.length ? [path(laid(band), `${kind} band`)] : []),
      ...laid(dots).map(([x, y]) => mark(x, y, 2, kind, "seed")),
      path(laid(points), `${kind} curve`),
      ...laid(points).map(([x, y], index) => mark(x, y, index === chosen ? 5 : 2.8, kind)),
      path([[legend, 12], [legend + 26, 12]], `${kind} curve`),
      mark(legend + 13, 12, 2.8, kind),
      words(legend + 32, 16, title, "start"),
    ];
  }

  /** Curves of rates along an axis; places on it are numbers from 0 to 1. */
  function chart({ label, axis, curves, marker }) {
    const upright = marker === undefined ? [] : [line(across(marker), TOP - 6, across(marker), BOTTOM, "chosen")];
    return picture(WIDTH, HEIGHT, label, ...frame(axis), ...upright, ...curves.flatMap(curve));
  }

  // ---- Style: the book's colours where the page has them; blue is clean, vermillion is backdoored ------

  const STYLE = `
    :host { display: block; margin-block: 1.5rem; }
    .box {
      padding: 1rem 1.2rem; border: 1px solid var(--pst-color-border, #d9dfe5); border-radius: 6px;
      background: var(--pst-color-surface, #f4f6f8); color: var(--pst-color-text-base, #14212e); line-height: 1.5;
    }
    .box > :first-child { margin-top: 0; }
    .box + .spoken + .fallback { display: none; }
    :host([failed]) .box + .spoken + .fallback { display: block; }
    .slider {
      display: grid; grid-template-columns: minmax(8.5rem, 14rem) 1fr 4rem; gap: 0 0.8rem; align-items: center;
    }
    output { text-align: right; font-variant-numeric: tabular-nums; }
    input { accent-color: var(--bn-clean-text, #00639b); margin: 0; }
    input[type="range"] { width: 100%; min-width: 0; height: 2.75rem; cursor: pointer; touch-action: pan-y; }
    :is(input[type="radio"], input[type="checkbox"]) { width: 1.25rem; height: 1.25rem; }
    .check {
      display: inline-flex; align-items: center; gap: 0.4rem; min-height: 2.75rem; min-width: 2.75rem; cursor: pointer;
    }
    button {
      font: inherit; font-size: 0.95em; padding: 0.3rem 0.8rem; min-height: 2.75rem; min-width: 2.75rem;
      border: 1px solid var(--pst-color-text-muted, #55626f); border-radius: 4px; cursor: pointer;
      color: inherit; background: var(--pst-color-background, transparent);
    }
    :is(button, select, input, a, canvas, .scroller):focus-visible {
      outline: 3px solid var(--bn-clean-text, #00639b); outline-offset: 2px; border-radius: 3px;
    }
    .result { margin: 0.6rem 0; font-weight: 600; font-variant-numeric: tabular-nums; }
    .result.impossible { font-style: italic; color: var(--bn-backdoored-text, #a84300); }
    .wrong { font-weight: 600; }
    .caption { margin: 0.3rem 0 0.8rem; font-size: 0.9em; color: var(--pst-color-text-muted, #55626f); }
    .spoken {
      position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
    }
    svg { display: block; width: 100%; max-width: 32rem; height: auto; }
    svg text { fill: var(--pst-color-text-base, #14212e); font-size: 12px; font-family: inherit; }
    svg .grid { stroke: var(--pst-color-border, #d9dfe5); }
    svg .tick { stroke: var(--pst-color-text-muted, #55626f); }
    svg .chosen { stroke: var(--pst-color-text-base, #14212e); stroke-width: 1.2; }
    svg .clean { fill: var(--bn-clean, #0072b2); stroke: var(--bn-clean, #0072b2); }
    svg .backdoored { fill: var(--bn-backdoored, #d55e00); stroke: var(--bn-backdoored, #d55e00); }
    svg .curve { fill: none; stroke-width: 1.8; }
    svg .backdoored.curve { stroke-dasharray: 5 3; }
    svg .band { stroke: none; fill-opacity: 0.18; }
    svg .seed { stroke: none; fill-opacity: 0.4; }
    @media (max-width: 500px) {
      .box { padding: 0.8rem; }
      .slider { grid-template-columns: 1fr auto; }
      .slider input { grid-column: 1 / -1; grid-row: 2; }
    }
    @media print {
      .box { display: none; }
      .box + .spoken + .fallback { display: block; }
    }
    @media (forced-colors: active) { svg .clean, svg .backdoored, .bar { forced-color-adjust: none; } }
  `; // nothing moves by itself, so there is no motion to reduce

  // ---- The frame of an element -------------------------------------------------------------------

  /** Says the last of many texts to a screen reader, once there is a rest. */
  class Voice {
    constructor() {
      this.node = make("div", { className: "spoken", role: "status" });
      this.timer = 0;
    }

    say(text) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.sayAtOnce(text), SPEAK_AFTER);
    }

    sayAtOnce(text) {
      clearTimeout(this.timer);
      this.node.textContent = text;
    }
  }

  /** An element with a shadow of its own; what stood inside it is kept for print, for failures and for no script. */
  class Panel extends HTMLElement {
    static caption = ""; // its name for screen readers

    connectedCallback() {
      if (this.shadowRoot) return;
      const { caption } = /** @type {typeof Panel} */ (this.constructor);
      this.box = make("div", { className: "box", role: "group", "aria-label": caption });
      this.voice = new Voice();
      const fallback = make("div", { className: "fallback" }, make("slot"));
      this.attachShadow({ mode: "open" }).append(make("style", {}, STYLE), this.box, this.voice.node, fallback);
      this.start();
    }

    /** Fills the box. */
    start() {}

    /** Says why the element cannot work, and shows what stands inside it. */
    fail(message) {
      this.box.replaceChildren(make("p", { className: "wrong", role: "alert" }, message));
      this.toggleAttribute("failed", true);
    }
  }

  /** Makes a class the element of a tag; in a notebook the same script may run twice. */
  function register(tag, kind) {
    if (!customElements.get(tag)) customElements.define(tag, kind);
  }

  return {
    make,
    draw,
    button,
    field,
    slider,
    choice,
    table,
    line,
    words,
    path,
    mark,
    picture,
    chart,
    Voice,
    Panel,
    register,
  };
});
