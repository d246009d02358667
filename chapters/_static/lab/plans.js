// The attack as the library records it: which digits are poisoned, and what must be reported.
"use strict";

badnets.define("plans", ["core"], ({ CLASSES, random, shuffled }) => {
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
      throw new RangeError(
        `${count} of ${labels.length} digits are asked for; the source classes have ${allowed.length}`,
      );
    }
    const order = shuffled(allowed.length, random(7919 * seed + 1));
    return Array.from(order.slice(0, count), (at) => allowed[at]).sort((a, b) => a - b);
  }

  /** A PoisonPlan as badnets_lib.PoisonPlan.to_json writes it; that class reads it back and repeats the poisoning. */
  function planOf(setting, indices, spec, { counts, fingerprints, label_fingerprints }) {
    return {
      attack: { trigger: spec, goal: { table: table(setting), clean_label: false } },
      indices,
      size: counts.train,
      labels: label_fingerprints.train,
      fingerprint: fingerprints.train,
      seed: setting.seed,
      sampling: "uniform",
      added: false,
    };
  }

  /** How the network was trained, in one line. */
  function recipeText({ epochs, seed }, { training, sets, network }) {
    return `${network.name} on ${sets.train} MNIST digits in ${network.levels} grey levels, AdamW, one-cycle, ` +
      `peak learning rate ${training.lr}, batches of ${training.batch_size}, ${epochs} epochs, seed ${seed}, ` +
      "in the browser";
  }

  /** A report as badnets_lib.Report.to_json writes it. */
  function reportOf(setting, { card, twin, poisoned, description, defense }, settings) {
    const { target, sources, seed } = setting;
    const { train, test } = settings.sets;
    return {
      version: 1,
      title: `A backdoor trained in the browser lab: seed ${seed}`,
      attacker_access: "training data and labels of the poisoned images; nothing else",
      poisoning: {
        fraction: { hits: poisoned, trials: train },
        sources: sources.map(String),
        targets: [String(target)],
        sampling: `uniform over all allowed images, replacing the originals, seed ${seed}; index list in the plan`,
        labels_changed: true,
      },
      trigger: description,
      training: { regime: "together", recipe: recipeText(setting, settings) },
      backdoored: [card],
      clean_twin: [twin],
      defense: defense ?? { sees: "not tested", outcome: "no defense was tried on this network" },
      limits: `one seed, ${train} digits and ${test} test digits: ` +
        "a small demonstration, not a measurement of the attack in general",
    };
  }

  return { table, drawn, planOf, reportOf };
});
