// Rates and their intervals, in numbers and in the words of badnets_lib's Proportion and Difference.
"use strict";

badnets.define("counts", [], () => {
  const Z = 1.959963984540054; // the normal distribution's 97.5% point

  /** Like Python's f"{x:.{digits}f}": halves go to the even neighbour (toFixed sends them up). */
  function fixed(x, digits) {
    const size = Math.abs(x);
    const halves = size * 2 ** (digits + 1); // exact; odd where x lies midway between two printable numbers
    let text = size.toFixed(digits);
    if (Number.isInteger(halves) && halves % 2 === 1) {
      const below = Math.floor(size * 10 ** digits);
      text = ((below + (below % 2)) / 10 ** digits).toFixed(digits);
    }
    return x < 0 || Object.is(x, -0) ? `-${text}` : text;
  }

  const percent = (x, digits) => `${fixed(x * 100, digits)}%`;
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  const signed = (x) => (x < 0 || Object.is(x, -0) ? "" : "+") + fixed(x, 1);

  /**
   * 95% Wilson score interval of a rate.
   * @returns {Interval}
   */
  function wilson(hits, trials) {
    const p = hits / trials;
    const scale = 1 + (Z * Z) / trials;
    const centre = (p + (Z * Z) / (2 * trials)) / scale;
    const half = (Z * Math.sqrt((p * (1 - p)) / trials + (Z * Z) / (4 * trials * trials))) / scale;
    return [hits === 0 ? 0 : Math.max(0, centre - half), hits === trials ? 1 : Math.min(1, centre + half)];
  }

  /**
   * 95% interval of the first rate minus the second (Newcombe).
   * @returns {Interval}
   */
  function newcombe(one, other) {
    const a = one.hits / one.trials;
    const b = other.hits / other.trials;
    const [aLow, aHigh] = wilson(one.hits, one.trials);
    const [bLow, bHigh] = wilson(other.hits, other.trials);
    return [
      Math.max(-1, a - b - Math.hypot(a - aLow, bHigh - b)),
      Math.min(1, a - b + Math.hypot(aHigh - a, b - bLow)),
    ];
  }

  /** A count as the library prints it: rate, 95% interval, hits of trials. */
  function counted({ hits, trials }) {
    if (!trials) return "none yet";
    const [low, high] = wilson(hits, trials);
    return `${percent(hits / trials, 1)} [${percent(low, 1)}, ${percent(high, 1)}] (${hits}/${trials})`;
  }

  /** The difference of two rates as the library prints it, in percentage points. */
  function difference(one, other) {
    const [low, high] = newcombe(one, other).map((x) => signed(100 * x));
    return `${signed(100 * (one.hits / one.trials - other.hits / other.trials))} points [${low}, ${high}]`;
  }

  return { fixed, percent, grouped, wilson, newcombe, counted, difference };
});
