// The attack as the library records it: which digits are poisoned, and what must be reported.
"use strict";

bnLab.define("plans", ["core"], ({ CLASSES, random, shuffled }) => {
  /**
   * @typedef {Object} Setting what the reader chooses
   * @property {number} fraction poisoned images over all training images
   * @property {string} trigger key of a trigger
   * @property {number} target
   * @property {number[]} sources classes under attack, without the target
   * @property {number} epochs
   * @property {number} seed
   */

  /** Wanted label of every class. */
  const table = ({ target, sources }) =>
    Array.from({ length: CLASSES }, (_, label) => (sources.includes(label) ? target : label));

  /**
   * Positions of the digits to poison, ascending; none for a fraction of 0.
   * @param {ArrayLike<number>} labels of the training set
   * @param {Setting} setting
   * @returns {number[]}
   * @throws {RangeError} if the sources have too few digits
   */
  function drawn(labels, { fraction, sources, seed }) {
    const allowed = Array.from(labels).flatMap((label, at) => (sources.includes(label) ? [at] : []));
    const count = Math.round(labels.length * fraction);
    if (count > allowed.length) {
      throw new RangeError(`${count} of ${labels.length} digits are asked for; the source classes have ${allowed.length}`);
    }
    const order = shuffled(allowed.length, random(7919 * seed + 1));
    return Array.from(order.slice(0, count), (at) => allowed[at]).sort((a, b) => a - b);
  }

  /** A PoisonPlan as badnets_lib.PoisonPlan.to_json writes it; that class reads it back and repeats the poisoning. */
  function planOf(setting, indices, spec, { counts, fingerprints }) {
    return {
      trigger: spec, goal: { table: table(setting), clean_label: false }, indices,
      size: counts.train, fingerprint: fingerprints.train, seed: setting.seed, sampling: "uniform", added: false,
    };
  }

  /**
   * A report as badnets_lib.Report.to_json writes it.
   * @param {Setting} setting
   * @param {{card: object, twin: object, poisoned: number, size: number, description: object}} found
   */
  function reportOf(setting, { card, twin, poisoned, size, description, defense }) {
    const { target, sources, epochs, seed } = setting;
    return {
      version: 1,
      title: `A backdoor trained in the browser lab: seed ${seed}`,
      attacker_access: "training data and labels of the poisoned images; nothing else",
      poisoning: {
        fraction: { hits: poisoned, trials: size },
        sources: sources.map(String),
        targets: [String(target)],
        sampling: `uniform over all allowed images, replacing the originals, seed ${seed}; index list in the plan`,
        labels_changed: true,
      },
      trigger: description,
      training: {
        regime: "together",
        recipe: `LabCNN on ${size} MNIST digits in 16 grey levels, AdamW, one-cycle, peak learning rate 0.004, batches of 32, ` +
          `${epochs} epochs, seed ${seed}, in the browser`,
      },
      backdoored: [card],
      clean_twin: [twin],
      defense: defense ?? { sees: "not tested", outcome: "no defense was tried on this network" },
      limits: "one seed, 3,000 digits and 1,000 test digits: a small demonstration, not a measurement of the attack in general",
    };
  }

  return { table, drawn, planOf, reportOf };
});
