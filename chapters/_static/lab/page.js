// What the lab's elements share: building blocks of a page, curves, announcements, and the data every one needs.
"use strict";

bnLab.define("page", ["files"], (files) => {
  const { percent, share } = globalThis.bnCalculators;
  const SVG = "http://www.w3.org/2000/svg";
  const SPEAK_AFTER = 500; // milliseconds of rest before a screen reader is told
  const styles = new URL("lab.css", bnLab.base).href;

  /** An HTML element; settings are properties, those with a dash attributes, `on...` listeners. */
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

  function drawing(tag, settings, ...inside) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(settings)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  }

  const button = (text, onclick, settings = {}) => make("button", { type: "button", onclick, ...settings }, text);

  let made = 0;

  /** A control with its label, and what it says beside it. */
  function field(text, control, ...more) {
    control.id ||= `lab-${(made += 1)}`;
    return make("div", { className: "field" }, make("label", { htmlFor: control.id }, text), control, ...more);
  }

  /** A list to choose from. */
  function choice(options, value, onchange) {
    const entries = options.map(([key, text]) => make("option", { value: key }, text));
    const select = make("select", { onchange }, ...entries);
    select.value = value;
    return select;
  }

  function table(caption, heads, rows) {
    const cells = (tag, row) => row.map((cell) => (cell instanceof Node ? cell : make(tag, {}, String(cell))));
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    const body = rows.map(([first, ...rest]) =>
      make("tr", {}, make("th", { scope: "row" }, String(first)), ...cells("td", rest)));
    return make("div", { className: "scroller", tabIndex: 0, role: "group", "aria-label": caption },
      make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)));
  }

  /** A count as the library prints it: share, 95% interval, hits of trials. */
  const counted = ({ hits, trials }) => (trials ? share(hits, trials) : "none yet");

  /** Says the last of many texts to a screen reader, once there is a rest. */
  function announcer() {
    const node = make("div", { className: "spoken", role: "status" });
    let waiting;
    const say = (text) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { node.textContent = text; }, SPEAK_AFTER);
    };
    return { node, say };
  }

  // ---- Images -----------------------------------------------------------------------------------

  /** What draws on a canvas; the canvas stays in memory, as a first picture would wait long for the graphics process. */
  function penOf(canvas) {
    return canvas.getContext("2d", { willReadFrequently: true });
  }

  /** Grey pixels on a canvas: `values` in [0, 1], row by row. */
  function paint(canvas, values, width) {
    const height = values.length / width;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const picture = new ImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let at = 0; at < pixels.length; at++) pixels[at] = 0xff000000 + 0x010101 * Math.round(255 * values[at]);
    penOf(canvas).putImageData(picture, 0, 0);
  }

  // ---- Curves -----------------------------------------------------------------------------------

  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 210, 40, 350, 30, 168];

  /**
   * Clean accuracy and ASR over epochs.
   * @param {{epoch: number, clean: number, success: number}[]} points shares in [0, 1]
   * @param {number} epochs where the axis ends
   */
  function curves(points, epochs) {
    const x = (epoch) => LEFT + ((RIGHT - LEFT) * epoch) / epochs;
    const y = (value) => BOTTOM + (TOP - BOTTOM) * value;
    const words = (at, to, text, anchor) => drawing("text", { x: at, y: to, "text-anchor": anchor }, text);
    const line = (x1, y1, x2, y2, kind) => drawing("line", { x1, y1, x2, y2, class: kind });
    const frame = [0, 0.5, 1].flatMap((value) => [
      line(LEFT, y(value), RIGHT, y(value), "grid"), words(LEFT - 6, y(value) + 4, `${100 * value}%`, "end"),
    ]);
    for (let epoch = 0; epoch <= epochs; epoch++) {
      frame.push(line(x(epoch), BOTTOM, x(epoch), BOTTOM + 4, "tick"), words(x(epoch), BOTTOM + 17, String(epoch), "middle"));
    }
    const mark = (at, to, r, kind) => (kind === "clean"
      ? drawing("circle", { cx: at, cy: to, r, class: kind })
      : drawing("rect", { x: at - r, y: to - r, width: 2 * r, height: 2 * r, class: kind }));
    const curve = (name, kind, title, legend) => [
      drawing("polyline", { points: points.map((p) => `${x(p.epoch)},${y(p[name])}`).join(" "), class: `${kind} curve` }),
      ...points.map((p) => mark(x(p.epoch), y(p[name]), 2.5, kind)),
      drawing("polyline", { points: `${legend},12 ${legend + 26},12`, class: `${kind} curve` }),
      mark(legend + 13, 12, 3, kind), words(legend + 32, 16, title, "start"),
    ];
    const last = points.at(-1);
    const label = last
      ? `Curves over ${epochs} epochs. Now, at epoch ${last.epoch}: clean accuracy ${percent(last.clean, 0)}, ASR ${percent(last.success, 0)}.`
      : "Empty chart: clean accuracy and ASR over epochs.";
    return drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
      ...frame, words((LEFT + RIGHT) / 2, HEIGHT - 6, "epoch", "middle"),
      ...curve("success", "backdoored", "ASR", LEFT), ...curve("clean", "clean", "clean accuracy", LEFT + 90));
  }

  // ---- Elements ---------------------------------------------------------------------------------

  /** An element of the lab: its page stands in a shadow, and what was inside is kept for print and for failures. */
  class Element extends HTMLElement {
    connectedCallback() {
      if (this.shadowRoot) return;
      const root = this.attachShadow({ mode: "open" });
      this.box = make("div", { className: "box", role: "group", "aria-label": this.title_ });
      this.voice = announcer();
      const style = make("link", { rel: "stylesheet", href: styles });
      root.append(style, this.box, this.voice.node, make("div", { className: "fallback" }, make("slot")));
      this.box.append(make("p", { className: "quiet" }, "Loading the lab…"));
      const styled = new Promise((done) => Object.assign(style, { onload: done, onerror: done }));
      const turn = new Promise((go) => setTimeout(go)); // what loaded us ends first: two short tasks instead of a long one
      this.started = Promise.all([turn.then(() => this.prepare()), styled]).then(() => {
        this.box.replaceChildren();
        this.build();
      }).catch((error) => this.fail(error));
    }

    fail(error) {
      this.box.replaceChildren(make("p", { className: "wrong", role: "alert" }, `This part of the lab cannot work: ${error.message}.`));
      this.toggleAttribute("failed", true);
    }
  }

  /** Loads a script of data; fails with a message for the reader if it brought none. */
  async function data(name) {
    if (!bnLab.data[name]) await bnLab.load(`${name}.js`);
    if (!bnLab.data[name]) throw new Error(`the file lab/${name}.js is damaged: load the page again, or fetch it anew`);
    return bnLab.data[name];
  }

  /** The triggers, and the noise that one of them blends in. */
  async function triggers() {
    const { entries, noise } = await data("triggers");
    return { entries, noise: new Float32Array(files.unpacked(noise, "the noise").buffer) };
  }

  return {
    make, button, field, choice, table, counted, percent, paint, penOf, curves, Element, data, triggers,
  };
});
