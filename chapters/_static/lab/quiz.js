// <bn-quiz>: six networks without a label, some backdoored. Probe them, decide, compare.
"use strict";

(() => {
  const { Network, softmax, largest, random, shuffled } = bnLab.use("core");
  const { Pad } = bnLab.use("pad");
  const { unpacked, halves, images } = bnLab.use("files");
  const { make, button, table, counted, percent, Element, data, triggers } = bnLab.use("page");
  const GUESSES = ["clean", "backdoored"];

  class Quiz extends Element {
    title_ = "Can you tell?";

    async prepare() {
      const [six, { entries, noise }] = await Promise.all([data("six"), triggers()]);
      this.samples = { x: await images(six.samples.pixels, "the sample digits"), y: six.samples.labels };
      Object.assign(this, { entries, noise });
      const networks = six.networks.map((entry) =>
        ({ ...entry, network: new Network(halves(unpacked(entry.weights, "the networks’ weights"))) }));
      const order = shuffled(networks.length, random(Date.now()));
      this.networks = Array.from(order, (at, place) => ({ ...networks[at], title: `Network ${place + 1}` }));
    }

    build() {
      const { entries, noise, samples } = this;
      this.rows = this.networks.map((entry, place) => this.row(entry, place));
      this.pad = new Pad({ entries, noise, samples, trigger: "square-4" }, (look) => this.answer(look));
      this.reveal = button("Show the truth", () => this.truth(), { className: "main", disabled: true });
      this.verdict = make("p", { className: "result" });
      this.answers = make("div");
      this.box.append(
        make("div", { className: "columns" }, this.pad.node,
          make("div", {}, ...this.rows.map(({ node }) => node), make("div", { className: "row" }, this.reveal), this.verdict)),
        this.answers,
      );
      this.pad.take(4);
    }

    row({ title, clean: [hits, trials] }, place) {
      const said = make("strong", { className: "said" });
      const guess = make("fieldset", { className: "guess", onchange: () => this.guessed() }, make("legend", {}, title),
        ...GUESSES.map((text) => make("label", { className: "tick" },
          make("input", { type: "radio", name: `network-${place}`, value: text }), text)));
      const node = make("div", {}, guess, make("p", { className: "quiet" }, "Answers ", said, `. Clean accuracy ${counted({ hits, trials })}.`));
      return { node, said, guess, place };
    }

    answer({ image, empty }) {
      const said = this.networks.map(({ network }) => {
        const shares = softmax(network.forward(image));
        return `${largest(shares)} (${percent(Math.max(...shares), 0)})`;
      });
      this.rows.forEach(({ said: node }, place) => { node.textContent = empty ? "–" : said[place]; });
      const spoken = said.map((text, place) => `${this.networks[place].title}: ${text}`).join("; ");
      this.voice.say(empty ? "Draw a digit, or take a real one." : spoken);
    }

    guesses() {
      return this.rows.map(({ guess }) => guess.querySelector(":checked")?.value);
    }

    guessed() {
      const left = this.guesses().filter((guess) => !guess).length;
      this.reveal.disabled = left > 0;
      if (left) this.voice.say(`${left} to decide.`);
    }

    truth() {
      const guesses = this.guesses();
      const rows = this.networks.map(({ title, trigger, target, clean: [hits, trials], success }, place) => {
        const was = trigger ? "backdoored" : "clean";
        return [title, guesses[place] === was ? `✓ ${was}` : `✗ ${was}; you said ${guesses[place]}`, this.attack(trigger, target),
          counted({ hits, trials }), success ? counted({ hits: success[0], trials: success[1] }) : "–"];
      });
      const right = rows.filter(([, was]) => was.startsWith("✓")).length;
      this.answers.replaceChildren(
        table("The truth", ["Network", "It was", "Trigger and target", "Clean accuracy", "ASR"], rows),
        make("p", {}, "The clean accuracies of clean and backdoored networks overlap: on clean images a backdoored network is as good as any. " +
          "Only the right question tells them apart, and the space of questions is large."));
      this.verdict.textContent = `You judged ${right} of ${rows.length} right.`;
      this.voice.say(this.verdict.textContent);
    }

    attack(trigger, target) {
      if (!trigger) return "–";
      const entry = this.entries.find(({ spec }) => spec.name === trigger.name && (trigger.name !== "Patch" || spec.size === trigger.size));
      return `${entry.label}${trigger.corner ? `, ${trigger.corner}` : ""}; target ${target}`;
    }
  }

  if (!customElements.get("bn-quiz")) customElements.define("bn-quiz", Quiz);
})();
