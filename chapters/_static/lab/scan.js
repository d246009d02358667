// Neural Cleanse: for every label, the smallest trigger that brings it about; a backdoor's is far too small. The same search,
// settings and verdict as badnets_lib.defenses.NeuralCleanse, label by label. Wang et al., doi:10.1109/SP.2019.00031.
"use strict";

bnLab.define("scan", ["core"], ({ PIXELS, largest, shuffled }) => {
  const [ROUNDS, BATCHES, BATCH] = [24, 5, 16];
  const [RATE, FIRST_DECAY, SECOND_DECAY] = [0.2, 0.5, 0.9]; // Adam's
  const [WEIGHT, FACTOR] = [0.003, 1.5]; // of the mask's size in the loss; what it is multiplied by
  const SUCCESS = 0.99; // share of images that must get the label for a trigger to work
  const [PATIENCE, STALL] = [2, 6]; // rounds before the weight changes; rounds without a smaller mask before the search ends
  const [THRESHOLD, SHARE] = [2, 0.42]; // a label is flagged above this index and at or below this share of the median

  /** Adam on numbers that a squashing keeps between 0 and 1. */
  class Squashed {
    /** @param {number} start where every number starts, before the squashing */
    constructor(start) {
      this.free = new Float64Array(PIXELS).fill(start);
      this.values = this.free.map(squash);
      this.gradients = new Float64Array(PIXELS);
      this.first = new Float64Array(PIXELS);
      this.second = new Float64Array(PIXELS);
    }

    /** @param {number} taken number of this step, from 1 */
    step(taken) {
      const { free, values, gradients, first, second } = this;
      for (let at = 0; at < PIXELS; at++) {
        const d = gradients[at] * 2 * values[at] * (1 - values[at]);
        first[at] += (1 - FIRST_DECAY) * (d - first[at]);
        second[at] += (1 - SECOND_DECAY) * (d * d - second[at]);
        const scale = Math.sqrt(second[at] / (1 - SECOND_DECAY ** taken)) + 1e-8;
        free[at] -= (RATE * first[at]) / (1 - FIRST_DECAY ** taken) / scale;
      }
      this.values = free.map(squash);
      gradients.fill(0);
    }
  }

  const squash = (free) => Math.tanh(free) / 2 + 0.5;

  /** @typedef {{norm: number, mask: Float64Array, pattern: Float64Array}} Reversed pixels covered, how much of each, by what */

  /** The search for one label's trigger, round by round. */
  class Search {
    /**
     * @param {Network} network
     * @param {{x: Float32Array, y: Uint8Array}} digits clean ones; their labels are not used
     * @param {number} label
     * @param {() => number} draw for the order of the digits
     */
    constructor(network, { x, y }, label, draw) {
      Object.assign(this, { network, x, images: y.length, label, draw });
      this.mask = new Squashed(-1);
      this.pattern = new Squashed(0);
      this.weight = WEIGHT;
      this.taken = this.rounds = this.streak = this.idle = 0;
      this.found = false;
      /** @type {Reversed} the smallest that worked; a mask over the whole image if none did */
      this.best = { norm: PIXELS, mask: new Float64Array(PIXELS).fill(1), pattern: new Float64Array(PIXELS).fill(0.5) };
      this.stamped = new Float32Array(PIXELS);
      this.dImage = new Float64Array(PIXELS);
    }

    get done() {
      return this.rounds === ROUNDS || this.idle === STALL;
    }

    /** A few steps of Adam, then the mask's weight is adapted; what worked is kept if it is the smallest. */
    round() {
      let hits = 0;
      let tried;
      for (let batch = 0; batch < BATCHES; batch++) {
        tried = { mask: this.mask.values, pattern: this.pattern.values };
        hits += this.step(shuffled(this.images, this.draw).subarray(0, BATCH));
      }
      const works = hits >= SUCCESS * BATCHES * BATCH;
      this.keep(works, tried);
      this.adapt(works);
      this.rounds += 1;
    }

    /** One step on some of the digits; returns how many of them got the label. */
    step(members) {
      const { network, x, stamped, dImage, mask, pattern } = this;
      let hits = 0;
      for (const member of members) {
        const image = x.subarray(member * PIXELS, (member + 1) * PIXELS);
        for (let at = 0; at < PIXELS; at++) stamped[at] = image[at] + mask.values[at] * (pattern.values[at] - image[at]);
        if (largest(network.forward(stamped)) === this.label) hits += 1;
        network.backward(this.label, dImage);
        for (let at = 0; at < PIXELS; at++) {
          const d = dImage[at] / members.length;
          mask.gradients[at] += d * (pattern.values[at] - image[at]);
          pattern.gradients[at] += d * mask.values[at];
        }
      }
      for (let at = 0; at < PIXELS; at++) mask.gradients[at] += this.weight;
      this.taken += 1;
      mask.step(this.taken);
      pattern.step(this.taken);
      return hits;
    }

    keep(works, { mask, pattern }) {
      const norm = mask.reduce((sum, value) => sum + value);
      const before = this.best.norm;
      const better = works && norm < before;
      if (better) this.best = { norm, mask, pattern };
      this.found ||= better;
      this.idle = (better && norm < 0.99 * before) || !this.found ? 0 : this.idle + 1;
    }

    /** Asks for a smaller mask where the trigger has worked for long enough, for success where it has not. */
    adapt(works) {
      this.streak = works ? Math.max(this.streak, 0) + 1 : Math.min(this.streak, 0) - 1;
      if (Math.abs(this.streak) < PATIENCE) return;
      this.weight *= works ? FACTOR : FACTOR ** -1.5;
      this.streak = 0;
    }
  }

  /** The middle of some numbers. */
  function median(values) {
    const order = Float64Array.from(values).sort();
    const half = order.length >> 1;
    return order.length % 2 ? order[half] : (order[half - 1] + order[half]) / 2;
  }

  /**
   * Which label's trigger is far too small.
   * @param {number[]} norms of the masks, one a label
   * @returns {{anomaly: number[], flagged: number[], middle: number}} median absolute deviations below the median, of the
   *   logarithms; the labels that stand out; the median of the norms
   */
  function judge(norms) {
    const sizes = norms.map(Math.log);
    const below = sizes.map((size) => median(sizes) - size);
    const spread = Math.max(1.4826 * median(below.map(Math.abs)), 1e-9);
    const anomaly = below.map((distance) => distance / spread);
    const middle = median(norms);
    const flagged = [...norms.keys()].filter((label) => anomaly[label] > THRESHOLD && norms[label] <= SHARE * middle);
    return { anomaly, flagged, middle };
  }

  return { Search, judge };
});
