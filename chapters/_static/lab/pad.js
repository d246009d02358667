// A place to draw a digit, to take a real one, and to lay a trigger on it: shared by <bn-draw> and <bn-quiz>.
"use strict";

badnets.define("pad", ["core", "images", "element", "toolkit"], ({ SIDE, PIXELS }, images, element, toolkit) => {
  const { make, button, field, choice } = toolkit;
  const { DIGITS, paint, penOf } = element;
  const { stamped, stampedAt, windowOf, digitOf } = images;
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const PAPER = 280; // pixels of the drawing canvas
  const LINE = 22; // width of the pen on it

  class Pad {
    /**
     * @param {PadInput} given
     * @param {(question: Question) => void} changed
     */
    constructor({ entries, noise, samples, trigger }, changed) {
      this.entries = entries;
      this.noise = noise;
      this.samples = samples;
      this.changed = changed;
      /** @type {Float32Array} */
      this.digit = new Float32Array(PIXELS);
      /** @type {number | null} */
      this.label = null; // what the digit is, if that is known
      /** @type {Stroke[]} */
      this.strokes = [];
      /** @type {{pointer: number, points: Stroke} | null} */
      this.drawing = null; // the stroke under way, and the finger that draws it
      this.frameRequest = 0;
      this.taken = new Map(); // how often each sample digit was asked for
      this.stampedOn = false;
      this.node = make("div", {}, this.canvases(), this.tools(trigger));
      this.choose(trigger);
    }

    // ---- What is there ----

    canvases() {
      this.paper = make("canvas", {
        className: "pad",
        width: PAPER,
        height: PAPER,
        role: "img",
        "aria-label": "Paper to draw a digit on. With the keyboard, take a real digit with the buttons below.",
      });
      this.view = make("canvas", {
        className: "pixels",
        width: SIDE,
        height: SIDE,
        tabIndex: 0,
        role: "application",
        onkeydown: (event) => this.key(event),
      });
      this.frame = make("div", { className: "frame", hidden: true });
      this.listenToPen();
      this.stage = make("div", { className: "view" }, this.view, this.frame);
      this.listenToTrigger();
      return make(
        "div",
        { className: "pair" },
        make("figure", {}, this.paper, make("figcaption", {}, "Draw a digit here")),
        make(
          "figure",
          {},
          this.stage,
          make(
            "figcaption",
            {},
            "What the networks get, centred and scaled like MNIST. Tap to lay the trigger, then drag it.",
          ),
        ),
      );
    }

    tools(trigger) {
      const digits = DIGITS.map((label) =>
        button(String(label), () => this.take(label), { "aria-label": `Take a real ${label}` })
      );
      this.toggle = button("Stamp the trigger", () => this.stamp(!this.stampedOn), { "aria-pressed": "false" });
      this.back = button("Trigger back to its place", () => this.choose(this.entry.key));
      this.kinds = choice(this.entries.map(({ key, label }) => [key, label]), trigger, () => {
        this.choose(this.kinds.value);
        this.stamp(true);
      });
      const real = make(
        "fieldset",
        {},
        make("legend", {}, "Or take a real one"),
        make("div", { className: "digits" }, ...digits),
      );
      return make(
        "div",
        { className: "columns" },
        make("div", {}, real, make("div", { className: "row" }, button("Clear", () => this.clear()))),
        make("div", {}, field("Trigger", this.kinds), make("div", { className: "row" }, this.toggle, this.back)),
      );
    }

    // ---- Drawing ----

    listenToPen() {
      const paper = this.paper;
      /** @returns {Point} */
      const place = (event) => {
        const box = paper.getBoundingClientRect();
        return [(PAPER * (event.clientX - box.left)) / box.width, (PAPER * (event.clientY - box.top)) / box.height];
      };
      // One finger draws: a second one, or the palm, is not heard while it does.
      const draws = (event) => event.pointerId === this.drawing?.pointer;
      paper.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        if (this.drawing || !event.isPrimary) return;
        paper.setPointerCapture(event.pointerId);
        if (!this.strokes.length) this.newPaper();
        this.drawing = { pointer: event.pointerId, points: [place(event)] };
        this.strokes.push(this.drawing.points);
        this.drawn();
      });
      paper.addEventListener("pointermove", (event) => {
        if (!draws(event)) return;
        const moves = event.getCoalescedEvents?.() ?? [];
        this.drawing.points.push(...(moves.length ? moves : [event]).map(place));
        this.drawn();
      });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
        paper.addEventListener(end, (event) => {
          if (draws(event)) this.drawing = null;
        });
      }
    }

    newPaper() {
      const pen = penOf(this.paper);
      pen.fillRect(0, 0, PAPER, PAPER);
      Object.assign(pen, {
        lineWidth: LINE,
        lineCap: "round",
        lineJoin: "round",
        strokeStyle: "#fff",
        fillStyle: "#000",
      });
      this.label = null;
    }

    drawn() {
      const pen = penOf(this.paper);
      pen.beginPath();
      const [first, ...rest] = this.drawing.points;
      for (const [x, y] of [first, ...(rest.length ? rest : [first])]) pen.lineTo(x, y);
      pen.stroke();
      this.digit = digitOf(this.strokes);
      this.requestAnswer();
    }

    /** Brings another real digit of that class. */
    take(label) {
      const before = this.taken.get(label) ?? 0;
      this.taken.set(label, before + 1);
      const places = this.samples.y.flatMap((y, at) => (y === label ? [at] : []));
      const at = places[before % places.length];
      this.digit = this.samples.x.slice(at * PIXELS, (at + 1) * PIXELS);
      this.strokes = [];
      this.newPaper();
      this.label = label;
      const small = make("canvas");
      paint(small, this.digit, SIDE);
      const pen = penOf(this.paper);
      pen.imageSmoothingEnabled = true;
      pen.drawImage(small, 0, 0, PAPER, PAPER);
      this.requestAnswer();
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
      this.requestAnswer();
    }

    stamp(on) {
      this.stampedOn = on;
      this.requestAnswer();
    }

    /** Lays the trigger's window at a row and column, inside the image. */
    move(top, left) {
      if (!this.window) return;
      const clip = (value) => Math.min(SIDE - this.window.size, Math.max(0, Math.round(value)));
      this.window = { ...this.window, top: clip(top), left: clip(left) };
      this.stamp(true);
    }

    /** A mouse lays and drags the trigger at once. A finger drags it by its frame, and elsewhere lays it with a tap: a
     *  swipe scrolls the page. */
    listenToTrigger() {
      const lay = (event) => {
        if (!this.window) {
          this.stamp(true);
          return;
        }
        const box = this.view.getBoundingClientRect();
        const half = this.window.size / 2;
        const top = (SIDE * (event.clientY - box.top)) / box.height - half;
        const left = (SIDE * (event.clientX - box.left)) / box.width - half;
        this.move(top, left);
      };
      /** @type {number | null} */
      let dragging = null; // the pointer that has the trigger
      /** @type {number | null} */
      let tapping = null; // the finger that may be tapping
      this.stage.addEventListener("pointerdown", (event) => {
        if (!event.isPrimary || event.button !== 0) return;
        const grips = event.pointerType !== "touch" || event.target === this.frame;
        if (!grips) {
          tapping = event.pointerId;
          return;
        }
        dragging = event.pointerId;
        this.stage.setPointerCapture(event.pointerId);
        if (event.pointerType !== "touch") lay(event);
      });
      this.stage.addEventListener("pointermove", (event) => {
        if (event.pointerId === dragging && this.window) lay(event);
      });
      this.stage.addEventListener("pointerup", (event) => {
        if (event.pointerId === tapping) lay(event);
      });
      for (const end of ["pointerup", "pointercancel"]) {
        this.stage.addEventListener(end, () => {
          dragging = null;
          tapping = null;
        });
      }
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
    requestAnswer() {
      cancelAnimationFrame(this.frameRequest);
      this.frameRequest = requestAnimationFrame(() => this.show());
    }

    /**
     * What the networks are asked now.
     * @returns {Question}
     */
    question() {
      const { spec, key } = this.entry;
      const home = windowOf(spec);
      const moved = home !== null && (home.top !== this.window.top || home.left !== this.window.left);
      const empty = this.digit.every((value) => value === 0);
      const trigger = this.stampedOn ? key : null;
      return { image: this.image(spec, moved), label: this.label, empty, trigger, home: !moved };
    }

    /** The digit, with the trigger where it lies if it is on. */
    image(spec, moved) {
      if (!this.stampedOn) return this.digit;
      if (moved) return stampedAt(this.digit, spec, this.window.top, this.window.left);
      return stamped(this.digit, spec, this.noise);
    }

    show() {
      const question = this.question();
      paint(this.view, question.image, SIDE);
      const framed = question.trigger && this.window;
      this.frame.hidden = !framed;
      if (framed) {
        const { size, top, left } = this.window;
        const places = { left: left - 0.5, top: top - 0.5, width: size + 1, height: size + 1 };
        for (const [side, pixels] of Object.entries(places)) this.frame.style[side] = `${(100 * pixels) / SIDE}%`;
      }
      this.toggle.textContent = question.trigger ? "Remove the trigger" : "Stamp the trigger";
      this.toggle.setAttribute("aria-pressed", String(Boolean(question.trigger)));
      this.back.disabled = question.home;
      const where = this.window
        ? `at row ${this.window.top}, column ${this.window.left}; arrow keys move it`
        : "over the whole image";
      this.view.setAttribute(
        "aria-label",
        `Image the networks get. ${question.trigger ? `Trigger ${where}` : "No trigger"}. Enter stamps or removes it.`,
      );
      this.changed(question);
    }
  }

  return { Pad };
});
