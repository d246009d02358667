// Images: the library's triggers, and drawn strokes brought into MNIST's format.
"use strict";

badnets.define("images", ["core"], ({ SIDE, PIXELS }) => {
  /**
   * Where a Patch lies, from its corner and margin.
   * @param {Spec} spec
   */
  function cornerOf({ size, corner, margin }) {
    const end = SIDE - margin - size;
    return { top: corner.startsWith("top") ? margin : end, left: corner.endsWith("left") ? margin : end };
  }

  /**
   * @param {Float32Array} x
   * @param {Spec} spec
   */
  function paintSquare(x, { size, value, opacity }, { top, left }) {
    for (let row = top; row < top + size; row++) {
      for (let column = left; column < left + size; column++) {
        const at = row * SIDE + column;
        x[at] = (1 - opacity) * x[at] + opacity * value;
      }
    }
  }

  const inside = (place) => (place + SIDE) % SIDE; // a negative row or column counts from the end

  /**
   * @param {Float32Array} x
   * @param {Spec} spec
   */
  function paintPixels(x, { at, value }, { down, right } = { down: 0, right: 0 }) {
    for (const [row, column] of at) x[inside(inside(row) + down) * SIDE + inside(inside(column) + right)] = value;
  }

  /**
   * How each kind of trigger changes an image in place: badnets_lib/triggers says the same in PyTorch.
   * @type {Record<string, (x: Float32Array, spec: Spec, noise: Float32Array) => void>}
   */
  const STAMPS = {
    Patch: (x, spec) => paintSquare(x, spec, cornerOf(spec)),
    Pixels: (x, spec) => paintPixels(x, spec),
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

  /** A copy of an image with the trigger; Blend mixes in the noise. */
  function stamped(image, spec, noise) {
    if (!(spec.name in STAMPS)) {
      throw new RangeError(`no such trigger: ${spec.name}; known are ${Object.keys(STAMPS).join(", ")}`);
    }
    const copy = Float32Array.from(image);
    STAMPS[spec.name](copy, spec, noise);
    return copy;
  }

  /** A copy of an image with a small trigger at another place: its window begins at (top, left). */
  function stampedAt(image, spec, top, left) {
    const home = windowOf(spec);
    if (!home) throw new RangeError(`a ${spec.name} covers the whole image and cannot be moved`);
    const copy = Float32Array.from(image);
    if (spec.name === "Patch") paintSquare(copy, spec, { top, left });
    else paintPixels(copy, spec, { down: top - home.top, right: left - home.left });
    return copy;
  }

  /** Where a small trigger lies; null for one that covers the whole image. */
  function windowOf(spec) {
    if (spec.name === "Patch") return { size: spec.size, ...cornerOf(spec) };
    if (spec.name !== "Pixels") return null;
    const rows = spec.at.map(([row]) => inside(row));
    const columns = spec.at.map(([, column]) => inside(column));
    const top = Math.min(...rows);
    const left = Math.min(...columns);
    return { size: 1 + Math.max(Math.max(...rows) - top, Math.max(...columns) - left), top, left };
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
    const x = extent(points.map((point) => point[0]));
    const y = extent(points.map((point) => point[1]));
    const scale = (BOX - 2 * PEN) / Math.max(x.size, y.size, 1e-6);
    const fit = Math.min(scale, 40 / Math.max(x.size + y.size, 1e-6)); // a mere dot stays a dot
    const place = (dx, dy) =>
      strokes.map((stroke) =>
        stroke.map(([a, b]) => [
          MIDDLE + (a - x.middle) * fit + dx,
          MIDDLE + (b - y.middle) * fit + dy,
        ])
      );
    const [cx, cy] = massOf(inked(place(0, 0)));
    return inked(place(MIDDLE - cx, MIDDLE - cy));
  }

  function extent(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return { size: high - low, middle: (low + high) / 2 };
  }

  /** Centre of mass (x, y), where the middle of the first pixel is at (0.5, 0.5). */
  function massOf(image) {
    let sum = 0;
    let x = 0;
    let y = 0;
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
