// Images: the library's triggers, and drawn strokes brought into MNIST's format.
"use strict";

bnLab.define("images", ["core"], ({ SIDE, PIXELS }) => {
  /** @typedef {{name: string, [setting: string]: any}} Spec a trigger as badnets_lib.triggers.to_spec writes it */

  /**
   * How each kind of trigger changes an image in place: badnets_lib/triggers says the same in PyTorch.
   * @type {Record<string, (x: Float32Array, spec: Spec, noise: Float32Array) => void>}
   */
  const STAMPS = {
    Patch(x, { size, corner, margin, opacity, value }) {
      const top = corner.startsWith("top") ? margin : SIDE - margin - size;
      const left = corner.endsWith("left") ? margin : SIDE - margin - size;
      paintSquare(x, size, top, left, value, opacity);
    },
    Pixels(x, { at, value }) {
      for (const [row, column] of at) x[((row + SIDE) % SIDE) * SIDE + ((column + SIDE) % SIDE)] = value;
    },
    Blend(x, { opacity }, noise) {
      for (let at = 0; at < PIXELS; at++) x[at] = (1 - opacity) * x[at] + opacity * noise[at];
    },
    Sinusoid(x, { amplitude, frequency, phase }) {
      for (let at = 0; at < PIXELS; at++) {
        const wave = Math.sin(2 * Math.PI * ((frequency * (at % SIDE)) / SIDE + phase));
        x[at] = Math.min(1, Math.max(0, x[at] + amplitude * wave));
      }
    },
  };

  function paintSquare(x, size, top, left, value = 1, opacity = 1) {
    for (let row = top; row < top + size; row++) {
      for (let column = left; column < left + size; column++) {
        const at = row * SIDE + column;
        x[at] = (1 - opacity) * x[at] + opacity * value;
      }
    }
  }

  /**
   * A copy of an image with the trigger.
   * @param {Float32Array} image 784 numbers in [0, 1]
   * @param {Spec} spec
   * @param {Float32Array} noise the picture that Blend mixes in
   */
  function stamped(image, spec, noise) {
    const copy = Float32Array.from(image);
    STAMPS[spec.name](copy, spec, noise);
    return copy;
  }

  /**
   * A copy of an image with a small trigger at another place: its window begins at (top, left).
   * @param {Spec} spec a Patch or Pixels
   */
  function stampedAt(image, spec, top, left) {
    const copy = Float32Array.from(image);
    if (spec.name === "Patch") {
      paintSquare(copy, spec.size, top, left);
      return copy;
    }
    const home = windowOf(spec);
    const at = spec.at.map(([row, column]) => [row + SIDE - home.top + top, column + SIDE - home.left + left]);
    STAMPS.Pixels(copy, { ...spec, at });
    return copy;
  }

  /** Where a small trigger lies, as {size, top, left}; null for one that covers the whole image. */
  function windowOf(spec) {
    if (spec.name === "Patch") {
      const home = SIDE - spec.margin - spec.size;
      return { size: spec.size, top: home, left: home };
    }
    if (spec.name !== "Pixels") return null;
    const rows = spec.at.map(([row]) => (row + SIDE) % SIDE);
    const columns = spec.at.map(([, column]) => (column + SIDE) % SIDE);
    const [top, left] = [Math.min(...rows), Math.min(...columns)];
    return { size: 1 + Math.max(...rows) - top, top, left };
  }

  // ---- From strokes to a digit of MNIST ---------------------------------------------------------

  /** @typedef {[number, number][]} Stroke points (x, y) of one movement of the pen, in any unit */

  const BOX = 20; // MNIST's digits were scaled to fit 20x20 pixels ...
  const MIDDLE = SIDE / 2; // ... and laid with their centre of mass in the middle of 28x28
  const PEN = 1.15; // half the width of a line, in pixels: about MNIST's

  /**
   * The digit as the networks want it: scaled to MNIST's box, centred by its mass, with soft edges.
   * @param {Stroke[]} strokes
   * @returns {Float32Array} 784 numbers in [0, 1]; all 0 if nothing was drawn
   */
  function digitOf(strokes) {
    const points = strokes.flat();
    if (!points.length) return new Float32Array(PIXELS);
    const [x, y] = [0, 1].map((axis) => extent(points.map((point) => point[axis])));
    const scale = (BOX - 2 * PEN) / Math.max(x.size, y.size, 1e-6);
    const fit = Math.min(scale, 40 / Math.max(x.size + y.size, 1e-6)); // a mere dot stays a dot
    const place = (dx, dy) => strokes.map((stroke) => stroke.map(([a, b]) => [
      MIDDLE + (a - x.middle) * fit + dx, MIDDLE + (b - y.middle) * fit + dy,
    ]));
    const [cx, cy] = massOf(inked(place(0, 0)));
    return inked(place(MIDDLE - cx, MIDDLE - cy));
  }

  function extent(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return { size: high - low, middle: (low + high) / 2 };
  }

  /** Centre of mass (x, y), where the middle of the first pixel is at (0.5, 0.5). */
  function massOf(image) {
    let [sum, x, y] = [0, 0, 0];
    for (let at = 0; at < PIXELS; at++) {
      sum += image[at];
      x += image[at] * ((at % SIDE) + 0.5);
      y += image[at] * (Math.floor(at / SIDE) + 0.5);
    }
    return [x / sum, y / sum];
  }

  /** Strokes in pixels, drawn with a round pen. */
  function inked(strokes) {
    const image = new Float32Array(PIXELS);
    for (const stroke of strokes) {
      stroke.forEach((end, index) => inkLine(image, stroke[Math.max(0, index - 1)], end));
    }
    return image;
  }

  function inkLine(image, [x0, y0], [x1, y1]) {
    const reach = PEN + 0.5;
    const clip = (value) => Math.min(SIDE - 1, Math.max(0, Math.floor(value)));
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    for (let row = clip(Math.min(y0, y1) - reach); row <= clip(Math.max(y0, y1) + reach); row++) {
      for (let column = clip(Math.min(x0, x1) - reach); column <= clip(Math.max(x0, x1) + reach); column++) {
        const [x, y] = [column + 0.5, row + 0.5];
        const along = length ? Math.min(1, Math.max(0, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length)) : 0;
        const away = Math.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0));
        const at = row * SIDE + column;
        image[at] = Math.max(image[at], Math.min(1, Math.max(0, reach - away)));
      }
    }
  }

  return { stamped, stampedAt, windowOf, digitOf };
});
