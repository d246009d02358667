// <bn-draw>: a clean and a backdoored network answer side by side, and the reader's own tries are counted.
"use strict";

badnets.define(
  "draw",
  ["core", "files", "counts", "toolkit", "element", "pad", "units"],
  (core, files, counts, toolkit, element, { Pad }, { Units }) => {
    const { Network, FILTERS, FIRST, softmax, largest } = core;
    const { counted, percent } = counts;
    const { make, button, field, choice, table } = toolkit;
    const { DIGITS, paint, data, triggers, LabElement } = element;
    const MAPS = "Eight filters’ answers to the image";
    const START = "square-4"; // the backdoored network and the trigger to begin with
    const SIDES = { clean: "Clean", backdoored: "Backdoored" };
    const ROWS = { plain: "without a trigger", home: "its trigger, in its place", away: "another trigger or place" };

    class Draw extends LabElement {
      static caption = "Draw and attack";

      async prepare() {
        const [beside, { entries, noise }] = await Promise.all([data("beside"), triggers()]);
        this.entries = entries;
        this.noise = noise;
        this.kinds = beside.networks;
        this.networks = new Map();
        for (const name of ["clean", START]) this.network(name); // damage is noticed before anything is shown
        this.samples = { x: await files.images(beside.samples.pixels, "the sample digits"), y: beside.samples.labels };
      }

      /** A network by its name, unpacked when it is first wanted: five at once would hold the page up. */
      network(name) {
        if (!this.networks.has(name)) {
          const { weights } = this.kinds.find((kind) => kind.name === name);
          this.networks.set(name, new Network(files.halves(files.unpacked(weights, "the networks’ weights"))));
        }
        return this.networks.get(name);
      }

      build() {
        this.tries = [];
        this.meant = choice([["", "choose"], ...DIGITS.map((digit) => [digit, digit])], "", () => this.update());
        this.add = button("Count this image", () => this.countTry());
        const poisoned = this.kinds.filter(({ trigger }) => trigger);
        const options = poisoned.map(({ name }) => [name, this.entries.find(({ key }) => key === name).label]);
        this.poisoned = choice(options, START, () => this.choose(this.poisoned.value));
        const sides = Object.entries(SIDES).map(([side, title]) => [side, this.panel(side, title)]);
        this.panels = Object.fromEntries(sides);
        this.result = make("p", { className: "result" });
        this.score = make("div");
        const { entries, noise, samples } = this;
        this.pad = new Pad({ entries, noise, samples, trigger: START }, (question) => this.answer(question));
        const answers = make(
          "div",
          {},
          field("The backdoored network was poisoned with", this.poisoned),
          make("div", { className: "pair" }, ...Object.values(this.panels).map(({ node }) => node)),
          this.result,
        );
        this.units = make("div");
        this.box.append(
          make("div", { className: "columns" }, this.pad.node, answers),
          this.units,
          make("h3", {}, "Your own count"),
          make(
            "div",
            { className: "row" },
            field("I meant a", this.meant),
            this.add,
            button("Forget my tries", () => this.forget()),
          ),
          this.score,
        );
        this.pad.take(3);
        this.forget();
        setTimeout(() => this.showUnits(START)); // after the first answer is shown
      }

      panel(side, title) {
        const answer = make("p", { className: "answer" });
        const bars = make("dl", { className: "bars" });
        const maps = make("canvas", { className: "maps", role: "img", "aria-label": `${MAPS}; no image yet` });
        const node = make(
          "div",
          { className: side },
          make("h3", { className: side }, title),
          answer,
          bars,
          make("figure", {}, maps, make("figcaption", {}, "What its first layer sees, through eight filters")),
        );
        return { node, answer, bars, maps };
      }

      /** Takes up another backdoored network and its trigger. */
      choose(name) {
        try {
          this.network(name);
          this.pad.choose(name);
          setTimeout(() => this.showUnits(name));
        } catch (error) {
          this.fail(`This part of the lab cannot work: ${error.message}.`);
        }
      }

      /** The panel on the hidden units of the chosen backdoored network. */
      showUnits(name) {
        const { target } = this.kinds.find((kind) => kind.name === name);
        const { spec } = this.entries.find(({ key }) => key === name);
        const changed = (told) => {
          if (this.question) this.answer(this.question);
          this.voice.say(told);
        };
        this.units.replaceChildren(
          new Units(this.network(name), { spec, target }, this.samples, this.noise, changed).node,
        );
      }

      answer(question) {
        this.question = question;
        const answers = Object.entries(SIDES).map(([side]) => [side, this.ask(side)]);
        this.answers = Object.fromEntries(answers);
        this.guessMeaning(question);
        this.update();
        this.result.textContent = this.sentence(question, this.answers);
        this.voice.say(this.result.textContent);
      }

      /** Asks one of the two networks and shows what it says. */
      ask(side) {
        const { image, empty } = this.question;
        const network = this.network(side === "clean" ? "clean" : this.poisoned.value);
        const probabilities = softmax(network.forward(image));
        const answer = { label: largest(probabilities), confidence: Math.max(...probabilities) };
        this.show(this.panels[side], answer, probabilities, network, empty);
        return answer;
      }

      /** Fills in what the reader meant where it is known, and forgets what was known of the last image. */
      guessMeaning({ label, empty }) {
        if (label !== null) this.meant.value = String(label);
        else if (empty || this.labelWasKnown) this.meant.value = "";
        this.labelWasKnown = label !== null;
      }

      show({ answer, bars, maps }, { label, confidence }, probabilities, network, empty) {
        answer.replaceChildren(
          empty ? "–" : String(label),
          make("small", {}, empty ? "" : ` ${percent(confidence, 0)}`),
        );
        const rows = probabilities.flatMap((value, digit) => {
          const className = digit === label && !empty ? "most" : "";
          const bar = make("span", { className: "bar" });
          bar.style.width = empty ? "0" : `${100 * value}%`;
          const number = make("dd", { className }, empty ? "" : percent(value, 0));
          return [make("dt", { className }, String(digit)), make("dd", {}, bar), number];
        });
        bars.replaceChildren(...rows);
        paint(maps, mosaic(network.maps1), 4 * FIRST);
        maps.setAttribute(
          "aria-label",
          `${MAPS}; brightest: filter ${1 + loudest(network.maps1)}`,
        );
      }

      sentence({ empty, trigger, home }, { clean, backdoored }) {
        if (empty) return "Draw a digit, or take a real one.";
        const says = (name, { label, confidence }) => `the ${name} network says ${label} (${percent(confidence, 0)})`;
        const where = home ? "With the trigger" : "With the trigger elsewhere";
        return `${trigger ? where : "No trigger"}: ${says("clean", clean)}, ${says("backdoored", backdoored)}.`;
      }

      // ---- The reader's own tries ----

      /** An image can be counted once, and when it is known what it is. */
      update() {
        const alreadyCounted = this.tries.some(({ image }) => image === this.question?.image);
        this.add.disabled = !this.question || this.question.empty || this.meant.value === "" || alreadyCounted;
      }

      /** The row of the table to which the image belongs. */
      rowOf({ trigger, home }, kind) {
        if (!trigger) return "plain";
        return trigger === kind.name && home ? "home" : "away";
      }

      countTry() {
        const kind = this.kinds.find(({ name }) => name === this.poisoned.value);
        const { clean, backdoored } = this.answers;
        this.tries.push({
          image: this.question.image,
          row: this.rowOf(this.question, kind),
          label: Number(this.meant.value),
          target: kind.target,
          clean: clean.label,
          backdoored: backdoored.label,
        });
        this.update();
        this.tally();
        this.voice.say(`Counted. You have ${this.tries.length} tries.`);
      }

      forget() {
        this.tries = [];
        this.update();
        this.tally();
      }

      /** Right answers of a network where there was no trigger; else the victims that it gave the target. */
      rate(row, side) {
        const tries = this.tries.filter((entry) => entry.row === row);
        if (row === "plain") {
          return {
            hits: tries.filter((entry) => entry[side] === entry.label).length,
            trials: tries.length,
          };
        }
        const victims = tries.filter(({ label, target }) => label !== target);
        return { hits: victims.filter((entry) => entry[side] === entry.target).length, trials: victims.length };
      }

      tally() {
        const rows = Object.entries(ROWS).map(([row, text]) => {
          const measure = row === "plain" ? "Clean accuracy" : "ASR";
          return [`${measure}, ${text}`, counted(this.rate(row, "clean")), counted(this.rate(row, "backdoored"))];
        });
        const heads = ["Your images", "Clean network", "Backdoored network"];
        this.score.replaceChildren(
          table("Your tries, with 95% intervals", heads, rows),
          make(
            "p",
            { className: "quiet" },
            "Images that already are the target are no victims and do not count for the ASR. " +
              "Few tries make wide intervals.",
          ),
        );
      }
    }

    /** The maps of the first layer after ReLU, four by two, as bright as the brightest allows. */
    function mosaic(maps) {
      const most = Math.max(1e-6, maps.reduce((a, b) => Math.max(a, b)));
      const picture = new Float32Array(maps.length);
      for (let map = 0; map < FILTERS; map++) {
        for (let row = 0; row < FIRST; row++) {
          for (let column = 0; column < FIRST; column++) {
            const to = (Math.floor(map / 4) * FIRST + row) * 4 * FIRST + (map % 4) * FIRST + column;
            picture[to] = Math.max(0, maps[(map * FIRST + row) * FIRST + column]) / most;
          }
        }
      }
      return picture;
    }

    const loudest = (maps) => Math.floor(maps.indexOf(maps.reduce((a, b) => Math.max(a, b))) / FIRST ** 2);

    toolkit.register("bn-draw", Draw);
    return {};
  },
);

badnets.use("draw");
