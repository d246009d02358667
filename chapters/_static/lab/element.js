// What the lab's three elements share: their frame, their pictures of digits, and the data every one needs.
"use strict";

badnets.define("element", ["core", "files", "toolkit"], ({ SIDE }, files, { make, Panel }) => {
  const styles = new URL("lab/lab.css", badnets.base).href;
  const DIGITS = Array.from({ length: 10 }, (_, digit) => digit);

  /** What draws on a canvas; it stays in memory, as a first picture would wait long for the graphics process. */
  const penOf = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

  /** Grey levels in [0, 1], rows of `width`, onto a canvas. */
  function paint(canvas, values, width) {
    const height = values.length / width;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const picture = new ImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let at = 0; at < pixels.length; at++) pixels[at] = 0xff000000 + 0x010101 * Math.round(255 * values[at]);
    penOf(canvas).putImageData(picture, 0, 0);
  }

  /** A picture of one digit. */
  function digitCanvas(values, label) {
    const canvas = make("canvas", { className: "pixels", role: "img", "aria-label": label });
    paint(canvas, values, SIDE);
    return canvas;
  }

  /** Loads a script of data; fails with a message for the reader if it brought none. */
  async function data(name) {
    if (!badnets.data[name]) await badnets.load(`lab/${name}.js`);
    if (!badnets.data[name]) {
      throw new Error(`the file lab/${name}.js is damaged: load the page again, or fetch it anew`);
    }
    return badnets.data[name];
  }

  /** The triggers, and the noise that one of them blends in. */
  async function triggers() {
    const { entries, noise } = await data("triggers");
    return { entries, noise: new Float32Array(files.unpacked(noise, "the noise").buffer) };
  }

  /** An element of the lab: it prepares, perhaps for long, and then builds what it shows. */
  class LabElement extends Panel {
    start() {
      this.box.append(make("p", { className: "quiet" }, "Loading the lab…"));
      const style = make("link", { rel: "stylesheet", href: styles });
      const styled = new Promise((resolve) => Object.assign(style, { onload: resolve, onerror: resolve }));
      this.box.before(style);
      const laterTask = new Promise((resolve) => setTimeout(resolve)); // two short tasks instead of a long one
      Promise.all([laterTask.then(() => this.prepare()), styled]).then(() => {
        this.box.replaceChildren();
        this.build();
      }).catch((error) => this.fail(`This part of the lab cannot work: ${error.message}.`));
    }

    /** Gets what the element needs. */
    async prepare() {}

    /** Fills the box, once everything is there. */
    build() {}
  }

  return { DIGITS, penOf, paint, digitCanvas, data, triggers, LabElement };
});
