// Neural Cleanse: for every label, the smallest trigger that brings it about; a backdoor's is far too small. Search
// and verdict of badnets_lib.defenses.NeuralCleanse, label by label. Wang et al., doi:10.1109/SP.2019.00031.
"use strict";

badnets.define("scan", ["core"], ({ PIXELS, largest, shuffled }) => {
  /** Adam on numbers that a squashing keeps between 0 and 1. */
  class Squashed {
    /**
     * @param {number} start where every number starts, before the squashing
     * @param {ScanSettings} settings
     */
    constructor(start, { lr, betas }) {
      this.lr = lr;
      this.betas = betas;
      this.free = new Float64Array(PIXELS).fill(start);
      this.values = this.free.map(squash);
      this.gradients = new Float64Array(PIXELS);
      this.first = new Float64Array(PIXELS);
      this.second = new Float64Array(PIXELS);
    }

    /** @param {number} taken number of this step, from 1 */
    step(taken) {
      const { free, values, gradients, first, second, lr } = this;
      const [decay, squareDecay] = this.betas;
      for (let at = 0; at < PIXELS; at++) {
        const d = gradients[at] * 2 * values[at] * (1 - values[at]);
        first[at] += (1 - decay) * (d - first[at]);
        second[at] += (1 - squareDecay) * (d * d - second[at]);
        const scale = Math.sqrt(second[at] / (1 - squareDecay ** taken)) + 1e-8;
        free[at] -= (lr * first[at]) / (1 - decay ** taken) / scale;
      }
      this.values = free.map(squash);
      gradients.fill(0);
    }
  }

  const squash = (free) => Math.tanh(free) / 2 + 0.5;

  /** The search for one label's trigger, round by round. */
  class Search {
    /**
     * @param {NetworkOfLab} network
     * @param {{x: Float32Array, y: Uint8Array}} digits clean ones; their labels are not used
     * @param {number} label
     * @param {() => number} draw for the order of the digits
     * @param {ScanSettings} settings
     */
    constructor(network, { x, y }, label, draw, settings) {
      this.network = network;
      this.x = x;
      this.images = y.length;
      this.label = label;
      this.draw = draw;
      this.settings = settings;
      this.mask = new Squashed(-1, settings);
      this.pattern = new Squashed(0, settings);
      this.weight = settings.weight;
      this.taken = 0; // steps of Adam
      this.rounds = 0;
      this.streak = 0; // rounds of success in a row; below 0, of failure
      this.idle = 0; // rounds without a smaller mask
      this.smallest = Infinity; // norm of the smallest mask that was seen to work
      /** @type {Reversed[]} */
      this.kept = []; // every mask that worked on the digits of its round and was smaller than those before
      this.stamped = new Float32Array(PIXELS);
      this.dImage = new Float64Array(PIXELS);
    }

    get done() {
      return this.rounds === this.settings.rounds || this.idle === this.settings.stall;
    }

    /** A few steps of Adam, then the mask's weight is adapted; what worked is kept if it is the smallest. */
    round() {
      const { batches, batch_size, success } = this.settings;
      let hits = 0;
      let tried;
      for (let batch = 0; batch < batches; batch++) {
        tried = { mask: this.mask.values, pattern: this.pattern.values };
        hits += this.step(shuffled(this.images, this.draw).subarray(0, batch_size));
      }
      const works = hits >= success * batches * batch_size;
      this.keep(works, tried);
      this.adapt(works);
      this.rounds += 1;
    }

    /** One step on some of the digits; returns how many of them got the label. */
    step(members) {
      const { network, stamped, dImage, mask, pattern } = this;
      let hits = 0;
      for (const member of members) {
        const image = this.lay(mask.values, pattern.values, member);
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

    /** Keeps a smaller mask that works; a label that no longer improves is done. */
    keep(works, { mask, pattern }) {
      const norm = sum(mask);
      const before = Math.min(this.smallest, PIXELS);
      const better = works && norm < before;
      if (better) {
        this.kept.push({ norm, mask, pattern });
        this.smallest = norm;
      }
      const shrunk = better && norm < 0.99 * before;
      this.idle = shrunk || this.smallest === Infinity ? 0 : this.idle + 1;
    }

    /** The smallest mask kept that works on all digits, not only on those of its round; if none does, a whole image. */
    verified() {
      const { success } = this.settings;
      const found = this.kept.findLast((trigger) => this.hits(trigger) >= success * this.images);
      if (found) return { ...found, reached: true };
      const mask = new Float64Array(PIXELS).fill(1);
      return { norm: PIXELS, mask, pattern: new Float64Array(PIXELS).fill(0.5), reached: false };
    }

    /** How many of all digits get the label with a trigger. */
    hits(trigger) {
      let hits = 0;
      for (let member = 0; member < this.images; member++) {
        this.lay(trigger.mask, trigger.pattern, member);
        if (largest(this.network.forward(this.stamped)) === this.label) hits += 1;
      }
      return hits;
    }

    /** Lays a trigger on one of the digits; returns the digit as it was. */
    lay(mask, pattern, member) {
      const image = this.x.subarray(member * PIXELS, (member + 1) * PIXELS);
      for (let at = 0; at < PIXELS; at++) this.stamped[at] = image[at] + mask[at] * (pattern[at] - image[at]);
      return image;
    }

    /** Asks for a smaller mask where the trigger has worked for long enough, for success where it has not. */
    adapt(works) {
      this.streak = works ? Math.max(this.streak, 0) + 1 : Math.min(this.streak, 0) - 1;
      const { patience, factor } = this.settings;
      if (Math.abs(this.streak) < patience) return;
      this.weight *= works ? factor : factor ** -1.5;
      this.streak = 0;
    }
  }

  const sum = (values) => values.reduce((total, value) => total + value);

  /** The middle of some numbers. */
  function median(values) {
    const order = Float64Array.from(values).sort();
    const half = order.length >> 1;
    return order.length % 2 ? order[half] : (order[half - 1] + order[half]) / 2;
  }

  const LEAST = 3; // of fewer labels none can be called an outlier

  /**
   * Which label's trigger is far too small: the anomaly index counts median absolute deviations below the median of the
   * logarithms. Labels that no trigger reached have no part in it; where the deviation is 0, nothing stands out.
   */
  function judge(norms, reached, { threshold, ratio }) {
    const known = norms.filter((_, label) => reached[label]);
    const nothing = { anomaly: norms.map(() => 0), flagged: [], middle: known.length ? median(known) : NaN };
    if (known.length < LEAST) return nothing;
    const centre = median(known.map(Math.log));
    const deviation = 1.4826 * median(known.map((norm) => Math.abs(centre - Math.log(norm))));
    if (deviation === 0) return nothing;
    const { middle } = nothing;
    const anomaly = norms.map((norm) => (centre - Math.log(norm)) / deviation);
    const stands = (label) => reached[label] && anomaly[label] > threshold && norms[label] <= ratio * middle;
    return { anomaly, flagged: [...norms.keys()].filter(stands), middle };
  }

  return { Search, judge };
});
