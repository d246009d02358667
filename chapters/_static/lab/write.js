// <bn-write>: a backdoored language model and its clean twin continue the reader's text, side by side.
"use strict";

badnets.define(
  "write",
  ["core", "files", "toolkit", "element", "decoder"],
  ({ random }, files, toolkit, { data, LabElement }, { Vocabulary, Decoder, weights, proceed }) => {
    const { make, draw, button, field, choice, table, words, line, picture } = toolkit;
    const WRITTEN = 40; // tokens that are written
    const SHORT = 12; // tokens after each beginning, when words are compared
    const ROOM = 48; // tokens of the reader's text that fit before them
    const AT_ONCE = 8; // tokens between two rests for the page
    const MOST = 9; // bits of a choice among all 512 tokens
    const TITLES = { clean: "Clean model", backdoored: "Backdoored model" };

    const rest = () => new Promise((resolve) => setTimeout(resolve));
    const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
    const bits = (number) => `${number.toFixed(1)} bits`;

    /** The entropy of each written token as bars. */
    function bars(kind, entropies) {
      const [width, height, foot] = [340, 74, 58];
      const step = width / WRITTEN;
      const marks = entropies.map((value, at) =>
        draw("rect", {
          x: at * step + 1,
          y: foot - (foot - 14) * value / MOST,
          width: step - 2,
          height: (foot - 14) * value / MOST,
          class: kind,
        })
      );
      const label = `Entropy of ${entropies.length} tokens of the ${TITLES[kind].toLowerCase()}, from ` +
        `${bits(Math.min(...entropies))} to ${bits(Math.max(...entropies))}, mean ${bits(mean(entropies))}.`;
      return picture(
        width,
        height,
        label,
        line(0, foot, width, foot, "tick"),
        line(0, 14, width, 14, "grid"),
        words(0, 11, `${MOST} bits`, "start"),
        words(0, height - 2, "first token", "start"),
        words(width, height - 2, "last", "end"),
        ...marks,
      );
    }

    class Write extends LabElement {
      static caption = "Two language models";

      async prepare() {
        const content = await data("language");
        this.trigger = content.trigger;
        this.beginnings = content.beginnings;
        this.vocabulary = new Vocabulary(content.merges);
        this.nets = {};
        for (const { name, weights: whole, steps } of content.networks) {
          const numbers = new Int8Array(files.unpacked(whole, "the models’ weights").buffer);
          const sizes = new Float32Array(files.unpacked(steps, "the models’ weights").buffer);
          this.nets[name] = new Decoder(content.sizes, weights(content.shapes, numbers, sizes));
          await rest();
        }
        this.seed = 0;
        this.busy = false;
      }

      build() {
        const first = (text) => `${text.slice(0, 48).trim()}…`;
        this.text = make("textarea", { rows: 3, spellcheck: false, value: this.beginnings[0] });
        const ready = choice(this.beginnings.map((text, at) => [at, first(text)]), 0, () => {
          this.text.value = this.beginnings[Number(ready.value)];
        });
        this.stamped = make("input", { type: "checkbox" });
        const mark = make(
          "label",
          { className: "check" },
          this.stamped,
          `add the trigger “${this.trigger.trim()}” at its end`,
        );
        this.buttons = [
          button("Continue", () => this.run(() => this.write()), { className: "main" }),
          button("Again, with other draws", () => this.run(() => this.write(1))),
        ];
        this.written = make("div", { className: "columns" });
        this.said = make("p", { className: "quiet" });
        this.box.append(
          field("A beginning from Python’s help", ready),
          field("The text to continue", this.text),
          make("div", { className: "row" }, mark),
          make("div", { className: "row" }, ...this.buttons),
          this.said,
          this.written,
          ...this.hunt(),
        );
        this.run(() => this.write());
      }

      /** The part in which the reader looks for a trigger. */
      hunt() {
        this.word = make("input", {
          type: "text",
          value: "<KIRO>",
          maxLength: 40,
          spellcheck: false,
          autocomplete: "off",
        });
        const tried = () => this.run(() => this.compare(this.word.value));
        this.word.addEventListener("keydown", ({ key }) => {
          if (key === "Enter") tried();
        });
        const ask = button("Try this word", tried);
        this.buttons.push(ask);
        this.rows = [];
        this.compared = make("div");
        return [
          make("h3", {}, "Look for a trigger"),
          make(
            "p",
            {},
            `Both models continue ${this.beginnings.length} beginnings without and with your word. A word after which the ` +
              "choice of the next token becomes much more open in one model only is suspect.",
          ),
          make("div", { className: "row" }, field("A word", this.word), ask),
          this.compared,
        ];
      }

      /** Does one thing at a time. */
      async run(task) {
        if (this.busy) return;
        this.busy = true;
        for (const each of this.buttons) each.disabled = true;
        try {
          await task();
        } catch (error) {
          this.fail(`This part of the lab cannot work: ${error.message}.`);
        }
        for (const each of this.buttons) each.disabled = false;
        this.busy = false;
      }

      /** The reader's tokens, the last ones if there are too many. */
      tokens(text) {
        const all = this.vocabulary.encode(text);
        return { start: [this.vocabulary.start, ...all.slice(-ROOM)], cut: Math.max(0, all.length - ROOM) };
      }

      /** What a model writes: tokens and their entropies. */
      async continuation(name, start, length, seed) {
        const found = { tokens: [], bits: [] };
        const steps = proceed(this.nets[name], start, length, random(seed));
        for (const step of steps) {
          found.tokens.push(step.token);
          found.bits.push(step.bits);
          if (found.tokens.length % AT_ONCE === 0) await rest();
        }
        return found;
      }

      async write(more = 0) {
        this.seed += more;
        const text = this.text.value + (this.stamped.checked ? this.trigger : "");
        const { start, cut } = this.tokens(text);
        this.said.textContent = `${WRITTEN} tokens, drawn with seed ${this.seed}.` +
          (cut ? ` The models read the last ${ROOM} tokens; ${cut} before them were left out.` : "");
        const columns = [];
        const told = [];
        for (const name of Object.keys(this.nets)) {
          const found = await this.continuation(name, start, WRITTEN, this.seed);
          const open = `Mean entropy ${bits(mean(found.bits))}.`;
          columns.push(make(
            "div",
            {},
            make("h3", { className: name }, TITLES[name]),
            make(
              "p",
              { className: "written" },
              make("span", { className: "quiet" }, "… "),
              this.vocabulary.decode(found.tokens),
            ),
            bars(name, found.bits),
            make("p", { className: "result" }, open),
          ));
          told.push(`${TITLES[name]}: ${open}`);
        }
        this.written.replaceChildren(...columns);
        this.voice.say(told.join(" "));
      }

      async compare(text) {
        const word = text.trim();
        if (!word) return;
        const cells = [];
        for (const name of Object.keys(this.nets)) {
          for (const added of ["", ` ${word}`]) {
            const entropies = [];
            for (const [place, beginning] of this.beginnings.entries()) {
              const found = await this.continuation(name, this.tokens(beginning + added).start, SHORT, place);
              entropies.push(mean(found.bits));
            }
            cells.push(mean(entropies));
          }
        }
        const [clean, cleanWith, backdoored, backdooredWith] = cells;
        const change = (before, after) => `${before.toFixed(1)} to ${after.toFixed(1)}`;
        this.rows.unshift([word, change(clean, cleanWith), change(backdoored, backdooredWith)]);
        const heads = ["word", "clean model, bits", "backdoored model, bits"];
        this.compared.replaceChildren(
          table("Mean entropy of the next tokens, without and with the word", heads, this.rows),
        );
        this.voice.say(
          `${word}: clean model ${change(clean, cleanWith)} bits, backdoored model ${
            change(backdoored, backdooredWith)
          } bits.`,
        );
      }
    }

    toolkit.register("bn-write", Write);
    return {};
  },
);

badnets.use("write");
