// The two calculators of Chapters 2 and 4, on the site and in a notebook: <bn-fraction> and <bn-success>.
"use strict";

badnets.define("calculators", ["counts", "toolkit"], (counts, toolkit) => {
  const { fixed, percent, grouped, wilson, counted, difference } = counts;
  const { make, draw, button, slider, line, words, mark, picture, Panel } = toolkit;

  // ---- In words: RangeError says why a setting cannot be -----------------------------------------

  /** All images the network sees: k of n replaced, or added to them. */
  const total = ({ poisoned, clean, added }) => (added ? clean + poisoned : clean);

  /** The poisoning fraction and what one batch sees. */
  function fractionText(setting) {
    const { poisoned, clean, batch, added } = setting;
    if (poisoned < 0 || clean < 1 || batch < 1 || (poisoned > clean && !added)) {
      throw new RangeError(
        `cannot poison ${grouped(poisoned)} of ${grouped(clean)} images in batches of ${grouped(batch)}`,
      );
    }
    const rho = poisoned / total(setting);
    return (
      `rho = ${grouped(poisoned)}/${grouped(total(setting))} = ${percent(rho, 3)}. ` +
      `A batch of ${batch} holds ${fixed(batch * rho, 2)} poisoned images on average; ` +
      `${percent((1 - rho) ** batch, 1)} of batches hold none.`
    );
  }

  /** The attack success rate with its interval, and its two baselines. */
  function successText({ hits, victims, false_hits, twin_hits }) {
    if (victims < 1) throw new RangeError(`at least one victim is needed; got ${grouped(victims)}`);
    const given = { hits, "hits without the trigger": false_hits, "clean network's hits": twin_hits };
    for (const [name, count] of Object.entries(given)) {
      if (!(count >= 0 && count <= victims)) {
        throw new RangeError(`${name} must lie between 0 and the ${grouped(victims)} victims; got ${grouped(count)}`);
      }
    }
    const success = { hits, trials: victims };
    const twin = { hits: twin_hits, trials: victims };
    return `ASR = ${counted(success)}. Without the trigger: ${counted({ hits: false_hits, trials: victims })}. ` +
      `Clean network, with the trigger: ${counted(twin)}; difference ${difference(success, twin)}.`;
  }

  // ---- In pictures -------------------------------------------------------------------------------

  const COLUMNS = 32; // squares in a row

  /** One square per image of a batch; as much area is filled as the average batch holds poison. */
  function batchPicture(setting) {
    const { batch } = setting;
    const mean = (batch * setting.poisoned) / total(setting);
    const squares = Array.from({ length: batch }, (_, index) => {
      const x = 10 * (index % COLUMNS) + 1;
      const y = 10 * Math.floor(index / COLUMNS) + 1;
      const filled = Math.min(1, Math.max(0, mean - index));
      const square = [draw("rect", { x, y, width: 8, height: 8, class: "empty" })];
      if (filled > 0) square.push(draw("rect", { x, y, width: 8 * filled, height: 8, class: "poison" }));
      return square;
    });
    const label = `Average batch: ${fixed(mean, 2)} of ${batch} squares are filled, one square for each image.`;
    return picture(10 * COLUMNS, 10 * Math.ceil(batch / COLUMNS), label, ...squares.flat());
  }

  /** One row per rate: its value as a mark, its 95% interval as a line, on a scale from 0 to 100%. */
  function ratesPicture({ hits, victims, false_hits, twin_hits }) {
    /** @type {[string, number, string][]} */
    const rows = [
      ["ASR", hits, "backdoored"],
      ["no trigger", false_hits, "backdoored"],
      ["clean network", twin_hits, "clean"],
    ];
    const at = (rate) => 96 + 210 * rate;
    /** @type {SVGElement[]} */
    const parts = [0, 0.5, 1].flatMap((rate) => [
      line(at(rate), 4, at(rate), 80, "grid"),
      words(at(rate), 94, `${100 * rate}%`),
    ]);
    rows.forEach(([name, count, kind], index) => {
      const y = 16 + 26 * index;
      const [low, high] = wilson(count, victims).map(at);
      parts.push(words(0, y + 4, name, "start"), line(low, y, high, y, kind));
      for (const end of [low, high]) parts.push(line(end, y - 8, end, y + 8, kind));
      parts.push(mark(at(count / victims), y, 2.5, kind));
    });
    const spoken = rows.map(([name, count]) => `${name} ${counted({ hits: count, trials: victims })}`).join("; ");
    return picture(330, 98, `Rates with their 95% intervals on a scale from 0 to 100%: ${spoken}.`, ...parts);
  }

  // ---- Elements ----------------------------------------------------------------------------------

  const STYLE = `
    .result { min-height: 3em; }
    .empty { fill: none; stroke: var(--pst-color-text-muted, #55626f); stroke-width: 0.6; }
    .poison { fill: var(--bn-backdoored, #d55e00); }
    svg line:is(.clean, .backdoored) { stroke-width: 1.5; }
    @media (forced-colors: active) { .poison { forced-color-adjust: none; } }
  `;

  /** Controls above a sentence and a picture that follow them. */
  class Calculator extends Panel {
    start() {
      const { kind } = /** @type {{kind: CalculatorKind}} */ (/** @type {unknown} */ (this.constructor));
      this.kind = kind;
      /** @type {Record<string, {input: HTMLInputElement, show?: (text: string, unit: string) => void}>} */
      this.controls = {};
      this.result = make("p", { className: "result", "aria-hidden": "true" }); // a screen reader gets it from the voice
      this.figure = make("div");
      const rows = kind.controls.map((control) => this.row(control));
      this.box.append(
        make("style", {}, STYLE),
        ...rows,
        this.result,
        this.figure,
        button("Back to the example", () => this.reset()),
      );
      this.reset();
      this.voice.sayAtOnce(this.result.textContent);
    }

    /** @param {Control} control */
    row({ name, label, value, min, max, step }) {
      if (typeof value === "boolean") {
        const input = make("input", { type: "checkbox", id: name, onchange: () => this.changed() });
        this.controls[name] = { input };
        return make("label", { className: "check" }, input, label);
      }
      const control = slider(label, { id: name, min, max, step, oninput: () => this.changed() });
      this.controls[name] = control;
      return control.row;
    }

    reset() {
      for (const { name, value } of this.kind.controls) {
        const { input } = this.controls[name];
        if (typeof value === "boolean") input.checked = value;
        else input.value = String(value);
      }
      this.changed();
    }

    /** The setting as the controls have it: numbers, and booleans of boxes. */
    get setting() {
      const read = (input) => (input.type === "checkbox" ? input.checked : Number(input.value));
      return Object.fromEntries(Object.entries(this.controls).map(([name, { input }]) => [name, read(input)]));
    }

    changed() {
      const { setting, kind } = this;
      for (const { name, unit } of kind.controls) this.controls[name].show?.(grouped(setting[name]), unit);
      try {
        this.result.textContent = kind.text(setting);
        this.result.classList.remove("impossible");
        this.figure.replaceChildren(kind.picture(setting), make("p", { className: "caption" }, kind.caption));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.result.textContent = error.message;
        this.result.classList.add("impossible");
        this.figure.replaceChildren();
      }
      this.voice.say(this.result.textContent);
    }
  }

  class FractionCalculator extends Calculator {
    static caption = "Poisoning fraction calculator";

    /** @type {CalculatorKind} */
    static kind = {
      text: fractionText,
      picture: batchPicture,
      caption: "An average batch, one square for each image; filled is the poisoned part.",
      controls: [
        { name: "clean", label: "images n", unit: "images", value: 50000, min: 1000, max: 60000, step: 1000 },
        { name: "poisoned", label: "poisoned k", unit: "poisoned images", value: 500, min: 0, max: 6000, step: 50 },
        { name: "batch", label: "batch", unit: "images in a batch", value: 128, min: 8, max: 512, step: 8 },
        { name: "added", label: "added as copies", value: false },
      ],
    };
  }

  class SuccessCalculator extends Calculator {
    static caption = "Attack success rate calculator";

    /** @type {CalculatorKind} */
    static kind = {
      text: successText,
      picture: ratesPicture,
      caption: "Rates with their 95% intervals; squares are the backdoored network, the circle is the clean one.",
      controls: [
        { name: "victims", label: "victims", unit: "victims", value: 2000, min: 10, max: 9000, step: 10 },
        { name: "hits", label: "hits", unit: "hits", value: 1860, min: 0, max: 9000, step: 10 },
        {
          name: "false_hits",
          label: "no trigger",
          unit: "hits without the trigger",
          value: 8,
          min: 0,
          max: 9000,
          step: 1,
        },
        {
          name: "twin_hits",
          label: "clean net",
          unit: "hits of the clean network",
          value: 12,
          min: 0,
          max: 9000,
          step: 1,
        },
      ],
    };
  }

  toolkit.register("bn-fraction", FractionCalculator);
  toolkit.register("bn-success", SuccessCalculator);
  return { fractionText, successText };
});

badnets.use("calculators");
