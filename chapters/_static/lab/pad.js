// A place to draw a digit, to take a real one, and to lay a trigger on it: shared by <bn-draw> and <bn-quiz>.
"use strict";

bnLab.define("pad", ["core", "images", "page"], ({ SIDE, PIXELS }, images, page) => {
  const { make, button, field, choice, paint, penOf } = page;
  const { stamped, stampedAt, windowOf, digitOf } = images;
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const PAPER = 280; // pixels of the drawing canvas
  const LINE = 22; // width of the pen on it

  /**
   * @typedef {Object} Look what the networks are asked about
   * @property {Float32Array} image with the trigger, if there is one
   * @property {number | null} label what it is, if it is known
   * @property {boolean} empty nothing drawn and no digit taken
   * @property {string | null} trigger key of the trigger on it
   * @property {boolean} home whether the trigger lies where training had it
   */

  class Pad {
    /**
     * @param {{entries: object[], noise: Float32Array, samples: {x: Float32Array, y: number[]}, trigger: string}} given
     * @param {(look: Look) => void} changed
     */
    constructor({ entries, noise, samples, trigger }, changed) {
      Object.assign(this, { entries, noise, samples, changed });
      this.digit = new Float32Array(PIXELS);
      this.strokes = [];
      this.taken = new Map(); // how often each sample digit was asked for
      this.stampedOn = false;
      this.node = make("div", {}, this.canvases(), this.tools(trigger));
      this.choose(trigger);
    }

    // ---- What is there ----

    canvases() {
      this.paper = make("canvas", { className: "pad", width: PAPER, height: PAPER, role: "img",
        "aria-label": "Paper to draw a digit on. With the keyboard, take a real digit with the buttons below." });
      this.view = make("canvas", { className: "pixels", width: SIDE, height: SIDE, tabIndex: 0, role: "application",
        onkeydown: (event) => this.key(event) });
      this.frame = make("div", { className: "frame", hidden: true });
      this.listenToPen();
      this.listenToTrigger();
      return make("div", { className: "pair" },
        make("figure", {}, this.paper, make("figcaption", {}, "Draw a digit here")),
        make("figure", {}, make("div", { className: "view" }, this.view, this.frame),
          make("figcaption", {}, "What the networks get, centred and scaled like MNIST. Drag the trigger here.")));
    }

    tools(trigger) {
      const digits = Array.from({ length: 10 }, (_, label) =>
        button(String(label), () => this.take(label), { "aria-label": `Take a real ${label}` }));
      this.toggle = button("Stamp the trigger", () => this.stamp(!this.stampedOn), { "aria-pressed": "false" });
      this.back = button("Trigger back to its place", () => this.choose(this.entry.key));
      const options = this.entries.map(({ key, label }) => [key, label]);
      this.kinds = choice(options, trigger, () => { this.choose(this.kinds.value); this.stamp(true); });
      return make("div", { className: "columns" },
        make("div", {}, make("fieldset", {}, make("legend", {}, "Or take a real one"), make("div", { className: "digits" }, ...digits)),
          make("div", { className: "row" }, button("Clear", () => this.clear()))),
        make("div", {}, field("Trigger", this.kinds), make("div", { className: "row" }, this.toggle, this.back)));
    }

    // ---- Drawing ----

    listenToPen() {
      const paper = this.paper;
      const place = (event) => {
        const box = paper.getBoundingClientRect();
        return [(PAPER * (event.clientX - box.left)) / box.width, (PAPER * (event.clientY - box.top)) / box.height];
      };
      paper.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        paper.setPointerCapture(event.pointerId);
        if (!this.strokes.length) this.newPaper();
        this.stroke = [place(event)];
        this.strokes.push(this.stroke);
        this.drawn();
      });
      paper.addEventListener("pointermove", (event) => {
        if (!this.stroke) return;
        const moves = event.getCoalescedEvents?.() ?? [];
        this.stroke.push(...(moves.length ? moves : [event]).map(place));
        this.drawn();
      });
      for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => { this.stroke = null; });
    }

    newPaper() {
      const pen = penOf(this.paper);
      pen.fillRect(0, 0, PAPER, PAPER);
      Object.assign(pen, { lineWidth: LINE, lineCap: "round", lineJoin: "round", strokeStyle: "#fff", fillStyle: "#000" });
      this.label = null;
    }

    drawn() {
      const pen = penOf(this.paper);
      pen.beginPath();
      const points = this.stroke.length > 1 ? this.stroke : [this.stroke[0], this.stroke[0]];
      points.forEach(([x, y]) => pen.lineTo(x, y));
      pen.stroke();
      this.digit = digitOf(this.strokes);
      this.soon();
    }

    /** Brings another real digit of that class. */
    take(label) {
      const turn = this.taken.get(label) ?? 0;
      this.taken.set(label, turn + 1);
      const places = this.samples.y.flatMap((y, at) => (y === label ? [at] : []));
      const at = places[turn % places.length];
      this.digit = this.samples.x.slice(at * PIXELS, (at + 1) * PIXELS);
      this.strokes = [];
      this.newPaper();
      this.label = label;
      const small = make("canvas");
      paint(small, this.digit, SIDE);
      const pen = penOf(this.paper);
      pen.imageSmoothingEnabled = true;
      pen.drawImage(small, 0, 0, PAPER, PAPER);
      this.soon();
    }

    clear() {
      this.strokes = [];
      this.digit = new Float32Array(PIXELS);
      this.newPaper();
      this.stamp(false);
    }

    // ---- The trigger ----

    /** Takes up another trigger, at the place where training had it. */
    choose(key) {
      this.entry = this.entries.find((entry) => entry.key === key);
      this.kinds.value = key;
      this.window = windowOf(this.entry.spec);
      this.soon();
    }

    stamp(on) {
      this.stampedOn = on;
      this.soon();
    }

    /** Lays the trigger's window at a row and column, inside the image. */
    move(top, left) {
      if (!this.window) return;
      const clip = (value) => Math.min(SIDE - this.window.size, Math.max(0, Math.round(value)));
      this.window = { ...this.window, top: clip(top), left: clip(left) };
      this.stamp(true);
    }

    listenToTrigger() {
      const follow = (event) => {
        const box = this.view.getBoundingClientRect();
        const half = (this.window?.size ?? 0) / 2;
        this.move((SIDE * (event.clientY - box.top)) / box.height - half, (SIDE * (event.clientX - box.left)) / box.width - half);
      };
      this.view.addEventListener("pointerdown", (event) => {
        this.view.setPointerCapture(event.pointerId);
        if (this.window) follow(event);
        else this.stamp(true);
      });
      this.view.addEventListener("pointermove", (event) => {
        if (this.view.hasPointerCapture(event.pointerId) && this.window) follow(event);
      });
    }

    key(event) {
      const step = STEPS[event.key];
      if (step && this.window) this.move(this.window.top + step[0], this.window.left + step[1]);
      else if (event.key === "Enter" || event.key === " ") this.stamp(!this.stampedOn);
      else return;
      event.preventDefault();
    }

    // ---- Showing ----

    /** One answer for all changes before the next frame. */
    soon() {
      cancelAnimationFrame(this.waiting);
      this.waiting = requestAnimationFrame(() => this.show());
    }

    /** @returns {Look} */
    look() {
      const home = windowOf(this.entry.spec);
      const moved = Boolean(home) && (home.top !== this.window.top || home.left !== this.window.left);
      const image = !this.stampedOn ? this.digit
        : moved ? stampedAt(this.digit, this.entry.spec, this.window.top, this.window.left)
          : stamped(this.digit, this.entry.spec, this.noise);
      const empty = this.digit.every((value) => value === 0);
      return { image, label: this.label ?? null, empty, trigger: this.stampedOn ? this.entry.key : null, home: !moved };
    }

    show() {
      const look = this.look();
      paint(this.view, look.image, SIDE);
      const framed = look.trigger && this.window;
      this.frame.hidden = !framed;
      if (framed) {
        const { size, top, left } = this.window;
        const places = { left: left - 0.5, top: top - 0.5, width: size + 1, height: size + 1 };
        for (const [side, pixels] of Object.entries(places)) this.frame.style[side] = `${(100 * pixels) / SIDE}%`;
      }
      this.toggle.textContent = look.trigger ? "Remove the trigger" : "Stamp the trigger";
      this.toggle.setAttribute("aria-pressed", String(Boolean(look.trigger)));
      this.back.disabled = look.home;
      const where = this.window ? `at row ${this.window.top}, column ${this.window.left}; arrow keys move it` : "over the whole image";
      this.view.setAttribute("aria-label",
        `Image the networks get. ${look.trigger ? `Trigger ${where}` : "No trigger"}. Enter stamps or removes it.`);
      this.changed(look);
    }
  }

  return { Pad };
});
