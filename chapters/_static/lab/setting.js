// What the reader chooses before a training, and the link that holds it. No page is needed here.
"use strict";

badnets.define("setting", ["counts"], ({ percent }) => {
  const FRACTIONS = [0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
  const DIGITS = Array.from({ length: 10 }, (_, digit) => digit);
  const LIMITS = { epochs: { least: 1, most: 8 }, seed: { least: 0, most: 99 } };

  /** Every class but the target. */
  const othersThan = (target) => DIGITS.filter((digit) => digit !== target);

  const START = {
    fraction: 0.1,
    trigger: "square-3",
    target: 7,
    sources: othersThan(7),
    epochs: 4,
    seed: 0,
  };

  /** A number of epochs or a seed as it may be: whole, and within its limits. */
  function clipped(name, number) {
    const { least, most } = LIMITS[name];
    return Math.min(most, Math.max(least, Math.round(number || least)));
  }

  const hasAllSources = ({ sources, target }) => sources.length === othersThan(target).length;

  /** The setting as the search part of an address. */
  function toQuery(setting) {
    const { fraction, trigger, target, epochs, seed } = setting;
    const sources = hasAllSources(setting) ? "all" : setting.sources.join("");
    return new URLSearchParams({
      fraction: String(fraction),
      trigger,
      target: String(target),
      sources,
      epochs: String(epochs),
      seed: String(seed),
    }).toString();
  }

  /** The setting in the search part of an address, as far as it makes sense; else the start's. */
  function fromQuery(query, triggers) {
    const asked = new URLSearchParams(query);
    const pick = (name, allowed) => allowed.find((value) => String(value) === asked.get(name)) ?? START[name];
    const range = ({ least, most }) => Array.from({ length: most - least + 1 }, (_, step) => least + step);
    const target = pick("target", DIGITS);
    const listed = asked.get("sources") ?? "";
    const chosen = othersThan(target).filter((digit) => listed.includes(String(digit)));
    return {
      fraction: pick("fraction", FRACTIONS),
      trigger: pick("trigger", triggers),
      target,
      sources: /^\d{1,10}$/.test(listed) ? chosen : othersThan(target),
      epochs: pick("epochs", range(LIMITS.epochs)),
      seed: pick("seed", range(LIMITS.seed)),
    };
  }

  const fractionText = (value) => percent(value, value && value < 0.01 ? 2 : 0);

  /** Source classes and target in words. */
  const attackText = (setting) =>
    `${hasAllSources(setting) ? "all others" : setting.sources.join(", ")} → ${setting.target}`;

  return { FRACTIONS, LIMITS, START, clipped, toQuery, fromQuery, fractionText, attackText };
});
