// The lab's network in plain arithmetic, forwards and backwards: two convolutions, two linear layers, 11,978 weights.
// Shapes and order of the weights are PyTorch's, so that `LabCNN` of tools/lab.py is the same network; its optimiser is
// that of badnets_lib.train. tests/test_lab_core.py holds both to PyTorch.
//
// conv1 1 -> 8 (5x5) [8, 24, 24], ReLU, max-pool [8, 12, 12];
// conv2 8 -> 16 (5x5) [16, 8, 8], ReLU, max-pool [16, 4, 4];
// fc1 256 -> 32, ReLU; fc2 32 -> 10.
"use strict";

badnets.define("core", [], () => {
  const SIDE = 28;
  const PIXELS = SIDE * SIDE;
  const CLASSES = 10;
  const KERNEL = 5;
  const [FILTERS, CHANNELS, HIDDEN] = [8, 16, 32];
  const [FIRST, FIRST_POOLED, SECOND, SECOND_POOLED] = [24, 12, 8, 4]; // sides of the maps
  const FLAT = CHANNELS * SECOND_POOLED ** 2;

  /**
   * Name, number of weights and fan-in of every parameter, in the order in which they lie in memory.
   * @type {[string, number, number][]}
   */
  const LAYOUT = [
    ["conv1.weight", FILTERS * KERNEL ** 2, KERNEL ** 2],
    ["conv1.bias", FILTERS, KERNEL ** 2],
    ["conv2.weight", CHANNELS * FILTERS * KERNEL ** 2, FILTERS * KERNEL ** 2],
    ["conv2.bias", CHANNELS, FILTERS * KERNEL ** 2],
    ["fc1.weight", HIDDEN * FLAT, FLAT],
    ["fc1.bias", HIDDEN, FLAT],
    ["fc2.weight", CLASSES * HIDDEN, HIDDEN],
    ["fc2.bias", CLASSES, HIDDEN],
  ];
  const SIZE = LAYOUT.reduce((sum, [, count]) => sum + count, 0);

  /**
   * A generator of numbers in [0, 1) that gives the same ones everywhere (mulberry32).
   * @param {number} seed whole number
   * @returns {() => number}
   */
  function random(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  /**
   * The numbers 0 to count - 1 in random order.
   * @param {number} count
   * @param {() => number} draw
   * @returns {Uint32Array}
   */
  function shuffled(count, draw) {
    const order = Uint32Array.from({ length: count }, (_, index) => index);
    for (let last = count - 1; last > 0; last--) {
      const other = Math.floor(draw() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  /**
   * Views of every parameter in one array.
   * @param {Float64Array} whole
   * @returns {Record<string, Float64Array>}
   */
  function parts(whole) {
    let at = 0;
    return Object.fromEntries(LAYOUT.map(([name, count]) => [name, whole.subarray(at, at += count)]));
  }

  /**
   * Fresh weights, drawn as PyTorch draws them: uniform within 1 / sqrt(fan-in).
   * @param {number} seed
   * @returns {Float32Array}
   */
  function freshWeights(seed) {
    const draw = random(seed);
    const weights = new Float32Array(SIZE);
    let at = 0;
    for (const [, count, fanIn] of LAYOUT) {
      for (const end = at + count; at < end; at++) weights[at] = (2 * draw() - 1) / Math.sqrt(fanIn);
    }
    return weights;
  }

  // ---- Layers: each writes its result into an array it is given -----------------------------------
  // All arithmetic is in double precision, as JavaScript does it anyway: converting back and forth takes time.

  const begins = new Int32Array(FILTERS * SIDE);
  const ends = new Int32Array(FILTERS * SIDE);

  /**
   * The part of every row of x that is not zero, as the columns of the output that it reaches. A digit is mostly paper.
   * @param {Float64Array} x [lines, side]
   */
  function reach(x, lines, side) {
    const out = side - KERNEL + 1;
    for (let line = 0, at = 0; line < lines; line++, at += side) {
      let low = 0;
      let high = side;
      while (low < side && x[at + low] === 0) low++;
      while (high > low && x[at + high - 1] === 0) high--;
      begins[line] = Math.max(0, low - KERNEL + 1);
      ends[line] = low < high ? Math.min(high, out) : 0;
    }
  }

  /**
   * A 5x5 convolution without padding. Five inputs slide through local variables, row by row, and serve two output maps
   * at a time, which takes two thirds of the time of one by one; so `outputs` is even.
   * @param {Float64Array} x [inputs, side, side]
   * @param {Float64Array} y [outputs, side - 4, side - 4]
   */
  function convolve(x, inputs, side, weight, bias, y, outputs) {
    const out = side - KERNEL + 1;
    const area = out * out;
    reach(x, inputs * side, side);
    for (let o = 0; o < outputs; o += 2) {
      const map = o * area;
      y.fill(bias[o], map, map + area);
      y.fill(bias[o + 1], map + area, map + 2 * area);
      for (let i = 0; i < inputs; i++) {
        for (let ky = 0; ky < KERNEL; ky++) {
          const w = ((o * inputs + i) * KERNEL + ky) * KERNEL;
          const v = w + inputs * KERNEL * KERNEL;
          const w0 = weight[w], w1 = weight[w + 1], w2 = weight[w + 2], w3 = weight[w + 3], w4 = weight[w + 4];
          const v0 = weight[v], v1 = weight[v + 1], v2 = weight[v + 2], v3 = weight[v + 3], v4 = weight[v + 4];
          for (let row = 0; row < out; row++) {
            const line = i * side + row + ky;
            const end = map + row * out + ends[line];
            let to = map + row * out + begins[line];
            let at = line * side + begins[line];
            let x0 = x[at], x1 = x[at + 1], x2 = x[at + 2], x3 = x[at + 3];
            at += 4;
            for (; to < end; to++, at++) {
              const x4 = x[at];
              y[to] += w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3 + w4 * x4;
              y[to + area] += v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3 + v4 * x4;
              x0 = x1;
              x1 = x2;
              x2 = x3;
              x3 = x4;
            }
          }
        }
      }
    }
  }

  /** ReLU and 2x2 max-pooling in one, since they commute; `winners` remembers where each maximum lay. */
  function pool(x, maps, side, y, winners) {
    const out = side / 2;
    let to = 0;
    for (let map = 0; map < maps; map++) {
      for (let row = 0; row < out; row++) {
        let at = (map * side + 2 * row) * side;
        for (let column = 0; column < out; column++, at += 2, to++) {
          let best = at;
          if (x[at + 1] > x[best]) best = at + 1;
          if (x[at + side] > x[best]) best = at + side;
          if (x[at + side + 1] > x[best]) best = at + side + 1;
          y[to] = x[best] > 0 ? x[best] : 0;
          winners[to] = best;
        }
      }
    }
  }

  const places = new Int32Array((FIRST / 2) ** 2);
  const slopes = new Float64Array(places.length);

  /**
   * Gradients of `convolve` and the `pool` after it, added to dWeight and dBias; dx is overwritten, or left out for the
   * first layer. A maximum passes its gradient to its winner alone, so the loops run over the positive winners.
   */
  function convolveBack(x, inputs, side, weight, y, dy, winners, outputs, dWeight, dBias, dx) {
    const out = side - KERNEL + 1;
    const cells = y.length / outputs;
    if (dx) dx.fill(0);
    for (let o = 0, cell = 0, w = 0; o < outputs; o++) {
      let count = 0;
      for (const end = cell + cells; cell < end; cell++) {
        if (y[cell] <= 0) continue;
        const place = winners[cell] - o * out * out;
        places[count] = side * Math.floor(place / out) + (place % out);
        slopes[count] = dy[cell];
        dBias[o] += dy[cell];
        count += 1;
      }
      for (let i = 0; i < inputs; i++) {
        for (let ky = 0; ky < KERNEL; ky++, w += KERNEL) {
          const w0 = weight[w], w1 = weight[w + 1], w2 = weight[w + 2], w3 = weight[w + 3], w4 = weight[w + 4];
          let d0 = dWeight[w], d1 = dWeight[w + 1], d2 = dWeight[w + 2], d3 = dWeight[w + 3], d4 = dWeight[w + 4];
          const line = (i * side + ky) * side;
          for (let winner = 0; winner < count; winner++) {
            const at = line + places[winner];
            const d = slopes[winner];
            d0 += d * x[at];
            d1 += d * x[at + 1];
            d2 += d * x[at + 2];
            d3 += d * x[at + 3];
            d4 += d * x[at + 4];
            if (!dx) continue;
            dx[at] += d * w0;
            dx[at + 1] += d * w1;
            dx[at + 2] += d * w2;
            dx[at + 3] += d * w3;
            dx[at + 4] += d * w4;
          }
          dWeight[w] = d0;
          dWeight[w + 1] = d1;
          dWeight[w + 2] = d2;
          dWeight[w + 3] = d3;
          dWeight[w + 4] = d4;
        }
      }
    }
  }

  /** A linear layer: two sums at a time, as one alone waits for each of its additions; so `y` has an even length. */
  function connect(x, weight, bias, y) {
    const inputs = x.length;
    for (let o = 0, w = 0; o < y.length; o += 2, w += inputs) {
      let [one, other] = [bias[o], bias[o + 1]];
      for (let i = 0; i < inputs; i++, w++) {
        one += weight[w] * x[i];
        other += weight[w + inputs] * x[i];
      }
      y[o] = one;
      y[o + 1] = other;
    }
  }

  /** Gradients of `connect`, added to dWeight and dBias; dx is overwritten. */
  function connectBack(x, weight, dy, dWeight, dBias, dx) {
    dx.fill(0);
    for (let o = 0; o < dy.length; o++) {
      const d = dy[o];
      if (d === 0) continue;
      dBias[o] += d;
      for (let i = 0, w = o * x.length; i < x.length; i++, w++) {
        dWeight[w] += d * x[i];
        dx[i] += d * weight[w];
      }
    }
  }

  /**
   * Probabilities of logits.
   * @param {ArrayLike<number>} logits
   * @returns {number[]}
   */
  function softmax(logits) {
    const most = Math.max(...Array.from(logits));
    const powers = Array.from(logits, (logit) => Math.exp(logit - most));
    const sum = powers.reduce((total, power) => total + power);
    return powers.map((power) => power / sum);
  }

  /**
   * Index of the largest number.
   * @param {ArrayLike<number>} values
   */
  function largest(values) {
    let best = 0;
    for (let at = 1; at < values.length; at++) if (values[at] > values[best]) best = at;
    return best;
  }

  /** The network: weights, gradients, and room for the activations of one image. */
  class Network {
    /** @param {ArrayLike<number>} weights all 11,978, in PyTorch's order; a copy is kept */
    constructor(weights) {
      if (weights.length !== SIZE) throw new RangeError(`the network has ${SIZE} weights; got ${weights.length}`);
      this.weights = Float64Array.from(weights);
      this.gradients = new Float64Array(SIZE);
      this.w = parts(this.weights);
      this.d = parts(this.gradients);
      const room = (...sides) => new Float64Array(sides.reduce((a, b) => a * b));
      this.image = room(SIDE, SIDE);
      this.maps1 = room(FILTERS, FIRST, FIRST);
      this.pooled1 = room(FILTERS, FIRST_POOLED, FIRST_POOLED);
      this.winners1 = new Uint32Array(this.pooled1.length);
      this.maps2 = room(CHANNELS, SECOND, SECOND);
      this.pooled2 = room(FLAT);
      this.winners2 = new Uint32Array(FLAT);
      this.hidden = room(HIDDEN);
      this.off = new Uint8Array(HIDDEN); // 1 for hidden units that are switched off
      this.logits = room(CLASSES);
      this.dPooled1 = room(this.pooled1.length);
      this.dPooled2 = room(FLAT);
      this.dHidden = room(HIDDEN);
      this.dLogits = room(CLASSES);
    }

    /**
     * Logits of one image; the array is the network's own and changes with the next image.
     * @param {Float32Array} x images of 784 numbers in [0, 1]
     * @param {number} [image] which of them
     */
    forward(x, image = 0) {
      const w = this.w;
      this.image.set(x.subarray(image * PIXELS, (image + 1) * PIXELS));
      convolve(this.image, 1, SIDE, w["conv1.weight"], w["conv1.bias"], this.maps1, FILTERS);
      pool(this.maps1, FILTERS, FIRST, this.pooled1, this.winners1);
      convolve(this.pooled1, FILTERS, FIRST_POOLED, w["conv2.weight"], w["conv2.bias"], this.maps2, CHANNELS);
      pool(this.maps2, CHANNELS, SECOND, this.pooled2, this.winners2);
      connect(this.pooled2, w["fc1.weight"], w["fc1.bias"], this.hidden);
      for (let at = 0; at < HIDDEN; at++) if (this.hidden[at] < 0 || this.off[at]) this.hidden[at] = 0;
      connect(this.hidden, w["fc2.weight"], w["fc2.bias"], this.logits);
      return this.logits;
    }

    /** The label the network gives one image. */
    answer(x, image = 0) {
      return largest(this.forward(x, image));
    }

    /**
     * Adds the weights' gradients of the image that `forward` has just seen; returns its cross-entropy.
     * @param {number} label
     * @param {Float64Array | null} dImage the gradient of the image, if it is wanted; overwritten
     */
    backward(label, dImage = null) {
      const { w, d } = this;
      const probabilities = softmax(this.logits);
      this.dLogits.set(probabilities);
      this.dLogits[label] -= 1;
      connectBack(this.hidden, w["fc2.weight"], this.dLogits, d["fc2.weight"], d["fc2.bias"], this.dHidden);
      for (let at = 0; at < HIDDEN; at++) if (this.hidden[at] <= 0) this.dHidden[at] = 0;
      connectBack(this.pooled2, w["fc1.weight"], this.dHidden, d["fc1.weight"], d["fc1.bias"], this.dPooled2);
      convolveBack(
        this.pooled1,
        FILTERS,
        FIRST_POOLED,
        w["conv2.weight"],
        this.pooled2,
        this.dPooled2,
        this.winners2,
        CHANNELS,
        d["conv2.weight"],
        d["conv2.bias"],
        this.dPooled1,
      );
      convolveBack(
        this.image,
        1,
        SIDE,
        w["conv1.weight"],
        this.pooled1,
        this.dPooled1,
        this.winners1,
        FILTERS,
        d["conv1.weight"],
        d["conv1.bias"],
        dImage,
      );
      return -Math.log(Math.max(probabilities[label], 1e-30));
    }

    /** Silence a channel of the second convolution: it says 0 from now on. */
    prune(channel) {
      const taps = FILTERS * KERNEL ** 2;
      this.w["conv2.weight"].fill(0, channel * taps, (channel + 1) * taps);
      this.w["conv2.bias"][channel] = 0;
    }
  }

  /**
   * Learning rate and first moment's decay at a step of torch's OneCycleLR with its default settings.
   * @param {number} step from 0
   * @param {number} steps of the whole run
   * @param {number} peak the largest learning rate
   */
  function oneCycle(step, steps, peak) {
    const [top, last] = [0.3 * steps - 1, steps - 1];
    const cosine = (from, to, part) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part));
    if (step <= top) return { lr: cosine(peak / 25, peak, step / top), beta: cosine(0.95, 0.85, step / top) };
    const part = (step - top) / (last - top);
    return { lr: cosine(peak, peak / 25 / 1e4, part), beta: cosine(0.85, 0.95, part) };
  }

  /** AdamW with a one-cycle schedule, as badnets_lib.train uses them. */
  class Optimizer {
    /**
     * @param {Network} network
     * @param {{steps: number, lr: number, decay: number}} recipe
     */
    constructor(network, { steps, lr, decay }) {
      this.network = network;
      this.steps = steps;
      this.peak = lr;
      this.decay = decay;
      this.taken = 0;
      this.first = new Float64Array(SIZE);
      this.second = new Float64Array(SIZE);
    }

    /** One step along the mean of the gradients of `images` images, which are then forgotten. */
    step(images) {
      const { first, second } = this;
      const { weights, gradients } = this.network;
      const { lr, beta } = oneCycle(this.taken, this.steps, this.peak);
      this.taken += 1;
      const rate = lr / (1 - beta ** this.taken);
      const scale = Math.sqrt(1 - 0.999 ** this.taken);
      const keep = 1 - lr * this.decay;
      for (let at = 0; at < SIZE; at++) {
        const d = gradients[at] / images;
        first[at] += (1 - beta) * (d - first[at]);
        second[at] += 0.001 * (d * d - second[at]);
        weights[at] = keep * weights[at] - (rate * first[at]) / (Math.sqrt(second[at]) / scale + 1e-8);
      }
      gradients.fill(0);
    }
  }

  return {
    SIDE,
    PIXELS,
    CLASSES,
    FILTERS,
    CHANNELS,
    HIDDEN,
    FIRST,
    SIZE,
    random,
    shuffled,
    freshWeights,
    softmax,
    largest,
    Network,
    Optimizer,
  };
});
