// Where the trigger lives: the hidden units of a backdoored network that push towards the target, and switches for them.
"use strict";

badnets.define("units", ["core", "images", "counts", "toolkit"], (core, images, counts, { make }) => {
  const { PIXELS, HIDDEN } = core;
  const { percent } = counts;
  const SHOWN = 5; // units with a switch

  /** The parts of the samples that a network is asked: each image plain and with the trigger. */
  function asked({ x, y }, spec, noise) {
    return y.map((label, at) => {
      const plain = x.slice(at * PIXELS, (at + 1) * PIXELS);
      return { label, plain, marked: images.stamped(plain, spec, noise) };
    });
  }

  /** What the trigger adds to the target's logit through each hidden unit, on average over the victims. */
  function pushes(network, samples, target) {
    const added = new Float64Array(HIDDEN);
    const victims = samples.filter(({ label }) => label !== target);
    const weight = network.w["fc2.weight"].subarray(target * HIDDEN, (target + 1) * HIDDEN);
    for (const { plain, marked } of victims) {
      network.forward(plain);
      const before = network.hidden.slice();
      network.forward(marked);
      for (let at = 0; at < HIDDEN; at++) added[at] += (network.hidden[at] - before[at]) * weight[at] / victims.length;
    }
    return added;
  }

  /** How the network does on the samples: right without the trigger, and the target's label with it. */
  function tested(network, samples, target) {
    const victims = samples.filter(({ label }) => label !== target);
    return {
      clean: {
        hits: samples.filter(({ plain, label }) => network.answer(plain) === label).length,
        trials: samples.length,
      },
      success: {
        hits: victims.filter(({ marked }) => network.answer(marked) === target).length,
        trials: victims.length,
      },
    };
  }

  /** The panel of one network. */
  class Units {
    /**
     * @param {object} network a network of core.js; its `off` changes with the switches
     * @param {{spec: object, target: number}} attack what it was poisoned with
     * @param {{x: Float32Array, y: number[]}} digits sample digits
     * @param {Float32Array} noise what one trigger blends in
     * @param {(told: string) => void} changed called when a switch was used
     */
    constructor(network, { spec, target }, digits, noise, changed) {
      this.network = network;
      this.target = target;
      this.changed = changed;
      this.samples = asked(digits, spec, noise);
      const kept = network.off.slice();
      network.off.fill(0);
      const added = pushes(network, this.samples, target);
      network.off.set(kept);
      const order = Array.from(added.keys()).sort((one, other) => added[other] - added[one]).slice(0, SHOWN);
      const all = added.reduce((sum, value) => sum + Math.max(0, value), 0);
      this.said = make("p", { className: "result" });
      this.node = make(
        "fieldset",
        { className: "units" },
        make("legend", {}, "Where the trigger lives"),
        make(
          "p",
          { className: "quiet" },
          `The last hidden layer has ${HIDDEN} units. These ${SHOWN} raise the logit of ${target} most when the trigger is ` +
            "stamped on the sample digits. Switch some off.",
        ),
        ...order.map((unit) => this.row(unit, added[unit], added[unit] / all)),
        this.said,
      );
      this.tell();
    }

    row(unit, push, share) {
      const input = make("input", {
        type: "checkbox",
        checked: !this.network.off[unit],
        onchange: () => {
          this.network.off[unit] = input.checked ? 0 : 1;
          this.tell();
          this.changed(this.said.textContent);
        },
      });
      const text = `unit ${unit + 1}: ${push >= 0 ? "+" : "−"}${Math.abs(push).toFixed(1)}, ${
        percent(share, 0)
      } of all pushes`;
      return make("label", { className: "check unit" }, input, text);
    }

    tell() {
      const { clean, success } = tested(this.network, this.samples, this.target);
      const off = this.network.off.reduce((sum, value) => sum + value, 0);
      const state = off === 0 ? "All units on" : off === 1 ? "One unit off" : `${off} units off`;
      this.said.textContent = `${state}: right on ${clean.hits} of ${clean.trials} sample digits; with its trigger ` +
        `${success.hits} of ${success.trials} others become ${this.target}.`;
    }
  }

  return { Units, pushes, tested };
});
