// A committed grid of results, <bn-explorer>: a slider per axis over settings that were really run. It computes no
// statistics: `widgets.explorer` in badnets_lib wrote means, intervals and sentences into the element as JSON.
"use strict";

badnets.define("explorer", ["toolkit"], ({ make, button, slider, chart, Panel, register }) => {
  // ---- The data ----------------------------------------------------------------------------------

  /**
   * The grid in the page; throws TypeError or SyntaxError if it is not one.
   * @param {string} text
   * @returns {Grid}
   */
  function read(text) {
    const grid = JSON.parse(text);
    const check = (right, what) => {
      if (!right) throw new TypeError(`the explorer's data have no proper ${what}`);
    };
    const { axes, start, cells } = grid ?? {};
    check(Array.isArray(axes) && axes.length > 0 && axes.every(isAxis), "axes");
    check(isLogarithmic(axes.at(-1).values), "last axis");
    check(
      Array.isArray(start) && axes.every(({ values }, place) => [...values.keys()].includes(start[place])),
      "start",
    );
    const size = axes.reduce((product, axis) => product * axis.values.length, 1);
    check(Array.isArray(cells) && cells.length === size && cells.every(isCell), "cells");
    return grid;
  }

  const isText = (x) => typeof x === "string";
  const isRate = (x) => typeof x === "number" && x >= 0 && x <= 1;
  const isAxis = (axis) =>
    isText(axis?.label) && isText(axis.unit) && Array.isArray(axis.values) && axis.values.length > 0 &&
    axis.values.every(Number.isFinite) && axis.texts?.length === axis.values.length && axis.texts.every(isText);
  const isLogarithmic = (values) =>
    values.length > 1 && values[0] > 0 && values.every((x, i) => i === 0 || x > values[i - 1]);
  const isMeasure = (measure) =>
    [1, 3].includes(measure?.spread?.length) && measure.spread.every(isRate) &&
    Array.isArray(measure.seeds) && measure.seeds.every(isRate);
  const isCell = (cell) => isText(cell?.text) && isMeasure(cell.success) && isMeasure(cell.clean);

  /** The cell at one index per axis; the last axis runs fastest. */
  const cellAt = ({ axes, cells }, indices) =>
    cells[indices.reduce((place, index, axis) => place * axes[axis].values.length + index, 0)];

  // ---- The picture -------------------------------------------------------------------------------

  const MEASURES = [
    { name: "success", title: "ASR", kind: "backdoored" },
    { name: "clean", title: "clean accuracy", kind: "clean" },
  ];

  /** Where the values lie on a logarithmic axis, from 0 to 1. */
  function places(values) {
    const first = Math.log(values[0]);
    const whole = Math.log(values.at(-1)) - first;
    return values.map((value) => (Math.log(value) - first) / whole);
  }

  /** One measure along the last axis, as the chart wants it. */
  function curve({ name, title, kind }, cells, along, chosen) {
    const spreads = cells.map((cell) => cell[name].spread);
    const side = (which) => spreads.map((spread, index) => [along[index], spread[which]]);
    const banded = spreads.every((spread) => spread.length === 3);
    const band = banded ? [...side(1), ...side(2).reverse()] : [];
    const dots = cells.flatMap((cell, index) => cell[name].seeds.map((rate) => [along[index], rate]));
    return { title, kind, points: side(0), band, dots, chosen };
  }

  /** Both curves along the last axis, at the chosen place of the others. */
  function pictureOf(grid, indices) {
    const last = grid.axes.at(-1);
    const chosen = indices.at(-1);
    const cells = last.values.map((_, index) => cellAt(grid, [...indices.slice(0, -1), index]));
    const along = places(last.values);
    const fixed = grid.axes.slice(0, -1).map(({ label, texts }, axis) => `${label} ${texts[indices[axis]]}`);
    const spoken = cells.map((cell, index) => {
      const means = MEASURES.map(({ name, title }) => `${title} ${Math.round(100 * cell[name].spread[0])}%`);
      return `${last.texts[index]}: ${means.join(", ")}`;
    });
    return chart({
      label: `Curves along ${last.label}${fixed.length ? ` at ${fixed.join(", ")}` : ""}. ${spoken.join("; ")}.`,
      axis: {
        title: `${last.label} (log scale)`,
        ticks: along.map((place, index) => ({ place, text: last.texts[index] })),
      },
      curves: MEASURES.map((measure) => curve(measure, cells, along, chosen)),
      marker: along[chosen],
    });
  }

  function caption(cell) {
    const { spread, seeds } = cell.success;
    const few = seeds.length > 1 ? "Faint marks are single seeds." : "One seed, so there are no bands.";
    const told = spread.length === 3 ? `Bands are 95% intervals of the mean over seeds. ${few}` : few;
    return `Squares and dashes are the ASR, circles and full lines clean accuracy. ${told}`;
  }

  // ---- The element -------------------------------------------------------------------------------

  const UNREADABLE = "The interactive figure could not be read; the table holds the same numbers.";

  class Explorer extends Panel {
    static caption = "Explorer of measured results";

    start() {
      try {
        this.grid = read(this.querySelector("script[type='application/json']")?.textContent ?? "");
      } catch (error) {
        if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
        this.fail(UNREADABLE);
        return;
      }
      this.result = make("p", { className: "result", "aria-hidden": "true" }); // a screen reader gets it from the voice
      this.figure = make("div");
      this.sliders = this.grid.axes.map(({ label, values }) =>
        slider(label, { min: 0, max: values.length - 1, step: 1, oninput: () => this.changed() })
      );
      const rows = this.sliders.map(({ row }) => row);
      this.box.append(...rows, this.figure, this.result, button("Back to the start", () => this.reset()));
      this.reset();
      this.voice.sayAtOnce(this.result.textContent);
    }

    reset() {
      this.sliders.forEach(({ input }, axis) => {
        input.value = String(this.grid.start[axis]);
      });
      this.changed();
    }

    changed() {
      const indices = this.sliders.map(({ input }) => Number(input.value));
      this.sliders.forEach(({ show }, axis) => {
        const { texts, unit } = this.grid.axes[axis];
        show(texts[indices[axis]], unit);
      });
      const cell = cellAt(this.grid, indices);
      this.result.textContent = cell.text;
      this.figure.replaceChildren(pictureOf(this.grid, indices), make("p", { className: "caption" }, caption(cell)));
      this.voice.say(cell.text);
    }
  }

  register("bn-explorer", Explorer);
  return {};
});

badnets.use("explorer");
