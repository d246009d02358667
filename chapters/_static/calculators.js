// The two calculators of Chapters 3 and 4 for pages without a kernel: <bn-fraction> and <bn-success>.
// Their sentences are those of badnets_lib/widgets.py, word for word: tests/test_calculators.py compares them.
// A classic script, so that it also runs on a page opened from a folder. Without it, what stands inside the
// element is shown; in print too.
"use strict";

(() => {
  // ---- Arithmetic and wording: pure functions -------------------------------------------------

  const Z = 1.959963984540054; // the normal distribution's 97.5% point

  /** Like Python's f"{x:.{digits}f}": halves go to the even neighbour (toFixed sends them up). */
  function fixed(x, digits) {
    const size = Math.abs(x);
    const halves = size * 2 ** (digits + 1); // exact; odd where x lies midway between two printable numbers
    let text = size.toFixed(digits);
    if (Number.isInteger(halves) && halves % 2 === 1) {
      const below = Math.floor(size * 10 ** digits);
      text = ((below + (below % 2)) / 10 ** digits).toFixed(digits);
    }
    return x < 0 || Object.is(x, -0) ? `-${text}` : text;
  }

  const percent = (x, digits) => `${fixed(x * 100, digits)}%`;
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  const signed = (x) => (x < 0 || Object.is(x, -0) ? "" : "+") + fixed(x, 1);

  /** 95% Wilson score interval of a rate, [low, high]. */
  function wilson(hits, trials) {
    const p = hits / trials;
    const scale = 1 + (Z * Z) / trials;
    const centre = (p + (Z * Z) / (2 * trials)) / scale;
    const half = (Z * Math.sqrt((p * (1 - p)) / trials + (Z * Z) / (4 * trials * trials))) / scale;
    return [hits === 0 ? 0 : Math.max(0, centre - half), hits === trials ? 1 : Math.min(1, centre + half)];
  }

  /** 95% interval of the first rate minus the second (Newcombe), [low, high]. */
  function newcombe(hits, trials, otherHits, otherTrials) {
    const [a, b] = [hits / trials, otherHits / otherTrials];
    const [[aLow, aHigh], [bLow, bHigh]] = [wilson(hits, trials), wilson(otherHits, otherTrials)];
    return [
      Math.max(-1, a - b - Math.hypot(a - aLow, bHigh - b)),
      Math.min(1, a - b + Math.hypot(aHigh - a, b - bLow)),
    ];
  }

  function share(hits, trials) {
    const [low, high] = wilson(hits, trials);
    return `${percent(hits / trials, 1)} [${percent(low, 1)}, ${percent(high, 1)}] (${hits}/${trials})`;
  }

  /** The poisoning fraction rho: k images of n, replaced or added. */
  function fraction({ poisoned, clean, added }) {
    return poisoned / (added ? clean + poisoned : clean);
  }

  /** The poisoning fraction and what one batch sees, in words; throws RangeError if it cannot be. */
  function fractionText({ poisoned, clean, batch, added }) {
    if (poisoned < 0 || clean < 1 || batch < 1 || (poisoned > clean && !added)) {
      throw new RangeError(`cannot poison ${grouped(poisoned)} of ${grouped(clean)} images in batches of ${grouped(batch)}`);
    }
    const rho = fraction({ poisoned, clean, added });
    return (
      `rho = ${grouped(poisoned)}/${grouped(added ? clean + poisoned : clean)} = ${percent(rho, 3)}. ` +
      `A batch of ${batch} holds ${fixed(batch * rho, 2)} poisoned images on average; ` +
      `${percent((1 - rho) ** batch, 1)} of batches hold none.`
    );
  }

  /** The attack success rate, its interval and its two baselines, in words; throws RangeError if it cannot be. */
  function successText({ hits, victims, false_hits, twin_hits = null }) {
    if (victims < 1) throw new RangeError(`at least one victim is needed; got ${grouped(victims)}`);
    const counts = { hits, "hits without the trigger": false_hits, "clean network's hits": twin_hits };
    for (const [name, count] of Object.entries(counts)) {
      if (count !== null && !(count >= 0 && count <= victims)) {
        throw new RangeError(`${name} must lie between 0 and the ${grouped(victims)} victims; got ${grouped(count)}`);
      }
    }
    const text = `ASR = ${share(hits, victims)}. Without the trigger: ${share(false_hits, victims)}.`;
    if (twin_hits === null) return text;
    const [low, high] = newcombe(hits, victims, twin_hits, victims).map((x) => 100 * x);
    const points = `${signed(100 * (hits / victims - twin_hits / victims))} points [${signed(low)}, ${signed(high)}]`;
    return `${text} Clean network, with the trigger: ${share(twin_hits, victims)}; difference ${points}.`;
  }

  // ---- Pictures --------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function draw(name, settings, ...inside) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(settings)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  }

  function picture(width, height, label, ...inside) {
    return draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...inside);
  }

  /** One square per image of a batch; as much area is filled as the average batch holds poison. */
  function batchPicture(settings) {
    const { batch } = settings;
    const mean = batch * fraction(settings);
    const columns = 32;
    const squares = Array.from({ length: batch }, (_, index) => {
      const [x, y] = [10 * (index % columns), 10 * Math.floor(index / columns)];
      const filled = Math.min(1, Math.max(0, mean - index));
      const square = [draw("rect", { x: x + 1, y: y + 1, width: 8, height: 8, class: "empty" })];
      if (filled > 0) square.push(draw("rect", { x: x + 1, y: y + 1, width: 8 * filled, height: 8, class: "poison" }));
      return square;
    });
    const label = `Average batch: ${fixed(mean, 2)} of ${batch} squares are filled, one square for each image.`;
    return picture(10 * columns, 10 * Math.ceil(batch / columns), label, ...squares.flat());
  }

  /** One row per rate: its value as a mark, its 95% interval as a line, on a scale from 0 to 100%. */
  function ratesPicture({ hits, victims, false_hits, twin_hits }) {
    const rows = [
      ["ASR", hits, "backdoored"],
      ["no trigger", false_hits, "backdoored"],
      ["clean network", twin_hits, "clean"],
    ];
    const at = (rate) => 96 + 210 * rate;
    const parts = [0, 0.5, 1].flatMap((rate) => [
      draw("line", { x1: at(rate), x2: at(rate), y1: 4, y2: 80, class: "grid" }),
      draw("text", { x: at(rate), y: 94, "text-anchor": "middle" }, `${100 * rate}%`),
    ]);
    rows.forEach(([name, count, kind], index) => {
      const [y, [low, high]] = [16 + 26 * index, wilson(count, victims)];
      const centre = at(count / victims);
      const lines = [[low, low, 8], [high, high, 8], [low, high, 0]].map(([from, to, reach]) =>
        draw("line", { x1: at(from), x2: at(to), y1: y - reach, y2: y + reach, class: kind }));
      const mark =
        kind === "clean"
          ? draw("circle", { cx: centre, cy: y, r: 3, class: kind })
          : draw("rect", { x: centre - 2.5, y: y - 2.5, width: 5, height: 5, class: kind });
      parts.push(draw("text", { x: 0, y: y + 4 }, name), ...lines, mark);
    });
    const spoken = rows.map(([name, count]) => `${name} ${share(count, victims)}`).join("; ");
    return picture(330, 98, `Rates with their 95% intervals on a scale from 0 to 100%: ${spoken}.`, ...parts);
  }

  // ---- Elements --------------------------------------------------------------------------------

  const STYLE = `
    :host { display: block; margin-block: 1.5rem; }
    .box {
      padding: 1rem 1.2rem; border: 1px solid var(--pst-color-border, #d9dfe5); border-radius: 6px;
      background: var(--pst-color-surface, #f4f6f8); color: var(--pst-color-text-base, #14212e); line-height: 1.5;
    }
    .row { display: grid; grid-template-columns: minmax(8.5rem, auto) 1fr 4rem; gap: 0 0.8rem; align-items: center; }
    .row.tick { display: flex; min-height: 2.75rem; }
    output { text-align: right; font-variant-numeric: tabular-nums; }
    input { accent-color: var(--bn-clean-text, #00639b); margin: 0; }
    input[type="range"] { width: 100%; height: 2.75rem; cursor: pointer; touch-action: pan-y; }
    input[type="checkbox"] { width: 1.25rem; height: 1.25rem; }
    :is(input, button):focus-visible { outline: 3px solid var(--bn-clean-text, #00639b); outline-offset: 2px; border-radius: 3px; }
    .result { margin: 0.6rem 0; font-weight: 600; min-height: 3em; font-variant-numeric: tabular-nums; }
    .result.wrong { font-style: italic; color: var(--bn-backdoored-text, #a84300); }
    .spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    svg { display: block; width: 100%; max-width: 28rem; height: auto; }
    .caption { margin: 0.3rem 0 0.8rem; font-size: 0.88em; color: var(--pst-color-text-muted, #55626f); }
    text { fill: var(--pst-color-text-base, #14212e); font-size: 12px; font-family: inherit; }
    .grid { stroke: var(--pst-color-border, #d9dfe5); }
    .empty { fill: none; stroke: var(--pst-color-text-muted, #55626f); stroke-width: 0.6; }
    .poison { fill: var(--bn-backdoored, #d55e00); }
    .clean { fill: var(--bn-clean, #0072b2); stroke: var(--bn-clean, #0072b2); stroke-width: 1.5; }
    .backdoored { fill: var(--bn-backdoored, #d55e00); stroke: var(--bn-backdoored, #d55e00); stroke-width: 1.5; }
    button {
      font: inherit; font-size: 0.9em; padding: 0.35rem 0.9rem; min-height: 2.75rem; border-radius: 4px; cursor: pointer;
      color: inherit; background: transparent; border: 1px solid var(--pst-color-text-muted, #55626f);
    }
    .fallback { display: none; }
    @media (max-width: 500px) {
      .box { padding: 0.8rem; }
      .row { grid-template-columns: 1fr auto; }
      .row input[type="range"] { grid-column: 1 / -1; grid-row: 2; }
    }
    @media print { .box { display: none; } .fallback { display: block; } }
    @media (forced-colors: active) { .poison, .clean, .backdoored { forced-color-adjust: none; } }
  `; // nothing moves by itself, so there is no motion to reduce

  const KINDS = {
    "bn-fraction": {
      title: "Poisoning fraction calculator",
      text: fractionText,
      picture: batchPicture,
      caption: "An average batch, one square for each image; filled is the poisoned part.",
      controls: [
        { name: "clean", label: "images n", unit: "images", value: 50000, min: 1000, max: 60000, step: 1000 },
        { name: "poisoned", label: "poisoned k", unit: "poisoned images", value: 500, min: 0, max: 6000, step: 50 },
        { name: "batch", label: "batch", unit: "images in a batch", value: 128, min: 8, max: 512, step: 8 },
        { name: "added", label: "added as copies", value: false },
      ],
    },
    "bn-success": {
      title: "Attack success rate calculator",
      text: successText,
      picture: ratesPicture,
      caption: "Rates with their 95% intervals; squares are the backdoored network, the circle is the clean one.",
      controls: [
        { name: "victims", label: "victims", unit: "victims", value: 2000, min: 10, max: 9000, step: 10 },
        { name: "hits", label: "hits", unit: "hits", value: 1860, min: 0, max: 9000, step: 10 },
        { name: "false_hits", label: "no trigger", unit: "hits without the trigger", value: 8, min: 0, max: 9000, step: 1 },
        { name: "twin_hits", label: "clean net", unit: "hits of the clean network", value: 12, min: 0, max: 9000, step: 1 },
      ],
    },
  };

  const SPEAK_AFTER = 400; // milliseconds of rest before a screen reader is told

  function make(tag, settings, ...inside) {
    const node = Object.assign(document.createElement(tag), settings);
    node.append(...inside);
    return node;
  }

  class Calculator extends HTMLElement {
    connectedCallback() {
      if (this.shadowRoot) return;
      this.kind = KINDS[this.localName];
      this.inputs = {};
      this.outputs = {};
      this.result = make("p", { className: "result" });
      this.result.setAttribute("aria-hidden", "true"); // a screen reader gets the same words from the status
      this.status = make("div", { className: "spoken" });
      this.status.setAttribute("role", "status");
      this.figure = make("div", {});
      const reset = make("button", { type: "button" }, "Back to the example");
      reset.addEventListener("click", () => this.reset());
      const box = make("div", { className: "box" });
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", this.kind.title);
      const rows = this.kind.controls.map((control) => this.row(control));
      box.append(...rows, this.result, this.status, this.figure, reset);
      const fallback = make("div", { className: "fallback" }, make("slot", {}));
      this.attachShadow({ mode: "open" }).append(make("style", {}, STYLE), box, fallback);
      this.reset();
      this.speak();
    }

    row({ name, label, value, min, max, step }) {
      const ticked = typeof value === "boolean";
      const input = ticked ? make("input", { type: "checkbox" }) : make("input", { type: "range", min, max, step });
      input.id = input.name = name;
      input.addEventListener(ticked ? "change" : "input", () => this.changed());
      this.inputs[name] = input;
      const caption = make("label", { htmlFor: name }, label);
      if (ticked) return make("div", { className: "row tick" }, input, caption);
      this.outputs[name] = make("output", { htmlFor: name });
      this.outputs[name].setAttribute("aria-live", "off"); // the slider itself says its value
      return make("div", { className: "row" }, caption, input, this.outputs[name]);
    }

    reset() {
      for (const { name, value } of this.kind.controls) {
        if (typeof value === "boolean") this.inputs[name].checked = value;
        else this.inputs[name].value = value;
      }
      this.changed();
    }

    /** The settings as they stand: {name: number or boolean}. */
    get settings() {
      const read = (input) => (input.type === "checkbox" ? input.checked : Number(input.value));
      return Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, read(input)]));
    }

    changed() {
      const settings = this.settings;
      for (const { name, unit } of this.kind.controls) {
        if (!unit) continue;
        this.outputs[name].value = grouped(settings[name]);
        this.inputs[name].setAttribute("aria-valuetext", `${grouped(settings[name])} ${unit}`);
      }
      try {
        this.result.textContent = this.kind.text(settings);
        this.result.classList.remove("wrong");
        this.figure.replaceChildren(this.kind.picture(settings), make("p", { className: "caption" }, this.kind.caption));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.result.textContent = error.message;
        this.result.classList.add("wrong");
        this.figure.replaceChildren();
      }
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.speak(), SPEAK_AFTER);
    }

    speak() {
      clearTimeout(this.waiting);
      this.status.textContent = this.result.textContent;
    }
  }

  globalThis.bnCalculators = { fixed, wilson, newcombe, percent, share, fractionText, successText };
  for (const tag of Object.keys(KINDS)) {
    if (!customElements.get(tag)) customElements.define(tag, class extends Calculator {});
  }
})();
