// <bn-quiz>: six networks without a label, some backdoored. Probe them, decide, compare.
"use strict";

badnets.define(
  "quiz",
  ["core", "files", "counts", "toolkit", "element", "pad"],
  (core, files, counts, toolkit, element, { Pad }) => {
    const { Network, softmax, largest, random, shuffled } = core;
    const { counted, percent } = counts;
    const { make, button, table } = toolkit;
    const { data, triggers, LabElement } = element;
    const GUESSES = ["clean", "backdoored"];
    const START = "square-4"; // the trigger to begin with

    const countOf = ([hits, trials]) => ({ hits, trials });

    class Quiz extends LabElement {
      static caption = "Can you tell?";

      async prepare() {
        const [six, { entries, noise }] = await Promise.all([data("six"), triggers()]);
        this.samples = { x: await files.images(six.samples.pixels, "the sample digits"), y: six.samples.labels };
        this.entries = entries;
        this.noise = noise;
        const networks = six.networks.map((entry) => {
          const weights = files.halves(files.unpacked(entry.weights, "the networks’ weights"));
          return { ...entry, network: new Network(weights) };
        });
        const order = shuffled(networks.length, random(Date.now()));
        this.networks = Array.from(order, (at, place) => ({ ...networks[at], title: `Network ${place + 1}` }));
      }

      build() {
        const { entries, noise, samples } = this;
        this.rows = this.networks.map((entry, place) => this.row(entry, place));
        this.pad = new Pad({ entries, noise, samples, trigger: START }, (question) => this.answer(question));
        this.reveal = button("Show the truth", () => this.showTruth(), { className: "main", disabled: true });
        this.verdict = make("p", { className: "result" });
        this.answers = make("div");
        this.box.append(
          make(
            "div",
            { className: "columns" },
            this.pad.node,
            make(
              "div",
              {},
              ...this.rows.map(({ node }) => node),
              make("div", { className: "row" }, this.reveal),
              this.verdict,
            ),
          ),
          this.answers,
        );
        this.pad.take(4);
      }

      row({ title, clean }, place) {
        const words = make("strong", { className: "said" });
        const options = GUESSES.map((value) =>
          make(
            "label",
            { className: "check" },
            make("input", { type: "radio", name: `network-${place}`, value }),
            value,
          )
        );
        const guess = make(
          "fieldset",
          { className: "guess", onchange: () => this.guessed() },
          make("legend", {}, title),
          ...options,
        );
        const accuracy = `. Clean accuracy ${counted(countOf(clean))}.`;
        return {
          node: make("div", {}, guess, make("p", { className: "quiet" }, "Answers ", words, accuracy)),
          words,
          guess,
        };
      }

      answer({ image, empty }) {
        const answers = this.networks.map(({ network }) => {
          const probabilities = softmax(network.forward(image));
          return `${largest(probabilities)} (${percent(Math.max(...probabilities), 0)})`;
        });
        this.rows.forEach(({ words }, place) => {
          words.textContent = empty ? "–" : answers[place];
        });
        const spoken = answers.map((text, place) => `${this.networks[place].title}: ${text}`).join("; ");
        this.voice.say(empty ? "Draw a digit, or take a real one." : spoken);
      }

      guesses() {
        return this.rows.map(({ guess }) =>
          /** @type {HTMLInputElement | null} */ (guess.querySelector(":checked"))?.value
        );
      }

      guessed() {
        const left = this.guesses().filter((guess) => !guess).length;
        this.reveal.disabled = left > 0;
        if (left) this.voice.say(`${left} to decide.`);
      }

      showTruth() {
        const guesses = this.guesses();
        const was = this.networks.map(({ trigger }) => (trigger ? "backdoored" : "clean"));
        const right = was.filter((truth, place) => truth === guesses[place]).length;
        const rows = this.networks.map(({ title, trigger, target, clean, success }, place) => [
          title,
          guesses[place] === was[place] ? `✓ ${was[place]}` : `✗ ${was[place]}; you said ${guesses[place]}`,
          trigger ? this.attackText(trigger, target) : "–",
          counted(countOf(clean)),
          success ? counted(countOf(success)) : "–",
        ]);
        this.answers.replaceChildren(
          table("The truth", ["Network", "It was", "Trigger and target", "Clean accuracy", "ASR"], rows),
          make(
            "p",
            {},
            "The clean accuracies of clean and backdoored networks overlap: on clean images a backdoored network " +
              "is as good as any. Only the right question tells them apart, and the space of questions is large.",
          ),
        );
        this.verdict.textContent = `You judged ${right} of ${rows.length} right.`;
        this.voice.say(this.verdict.textContent);
      }

      attackText(trigger, target) {
        const isSame = ({ spec }) =>
          spec.name === trigger.name && (trigger.name !== "Patch" || spec.size === trigger.size);
        const { label } = this.entries.find(isSame);
        return `${label}${trigger.corner ? `, ${trigger.corner}` : ""}; target ${target}`;
      }
    }

    toolkit.register("bn-quiz", Quiz);
    return {};
  },
);

badnets.use("quiz");
