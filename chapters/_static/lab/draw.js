// <bn-draw>: a clean and a backdoored network answer side by side, and the reader's own tries are counted.
"use strict";

(() => {
  const { Network, PIXELS, FILTERS, FIRST, softmax, largest } = bnLab.use("core");
  const { Pad } = bnLab.use("pad");
  const { unpacked, halves, images } = bnLab.use("files");
  const { make, button, field, choice, table, counted, percent, paint, Element, data, triggers } = bnLab.use("page");
  const START = "square-4"; // the backdoored network and the trigger to begin with
  const SIDES = { clean: "Clean", backdoored: "Backdoored" };
  const ROWS = { plain: "without a trigger", home: "its trigger, in its place", away: "another trigger or place" };

  class Draw extends Element {
    title_ = "Draw and attack";

    async prepare() {
      const [beside, { entries, noise }] = await Promise.all([data("beside"), triggers()]);
      this.entries = entries;
      this.noise = noise;
      this.kinds = beside.networks;
      this.networks = new Map();
      for (const name of ["clean", START]) this.network(name); // what the start needs; damage is noticed before anything is shown
      this.samples = { x: await images(beside.samples.pixels, "the sample digits"), y: beside.samples.labels };
    }

    /** A network by its name, unpacked when it is first wanted: five at once would hold the page up. */
    network(name) {
      if (!this.networks.has(name)) {
        const { weights } = this.kinds.find((kind) => kind.name === name);
        this.networks.set(name, new Network(halves(unpacked(weights, "the networks’ weights"))));
      }
      return this.networks.get(name);
    }

    build() {
      this.tries = [];
      this.meant = choice([["", "choose"], ...Array.from({ length: 10 }, (_, digit) => [digit, digit])], "", () => this.count());
      this.add = button("Count this image", () => this.counting());
      this.poisoned = choice(
        this.kinds.filter(({ trigger }) => trigger).map(({ name }) => [name, this.entries.find(({ key }) => key === name).label]),
        START, () => this.choose(this.poisoned.value),
      );
      this.panels = Object.fromEntries(Object.entries(SIDES).map(([side, title]) => [side, this.panel(side, title)]));
      this.result = make("p", { className: "result" });
      this.score = make("div");
      const { entries, noise, samples } = this;
      this.pad = new Pad({ entries, noise, samples, trigger: START }, (look) => this.answer(look));
      this.box.append(
        make("div", { className: "columns" }, this.pad.node, make("div", {},
          field("The backdoored network was poisoned with", this.poisoned),
          make("div", { className: "pair" }, ...Object.values(this.panels).map(({ node }) => node)), this.result)),
        make("h3", {}, "Your own count"),
        make("div", { className: "row" }, field("I meant a", this.meant), this.add, button("Forget my tries", () => this.forget())),
        this.score,
      );
      this.pad.take(3);
      this.forget();
    }

    panel(side, title) {
      const answer = make("p", { className: "answer" });
      const bars = make("dl", { className: "bars" });
      const maps = make("canvas", { className: "maps", role: "img" });
      const node = make("div", { className: side }, make("h3", { className: side }, title), answer, bars,
        make("figure", {}, maps, make("figcaption", {}, "What its first layer sees, through eight filters")));
      return { node, answer, bars, maps };
    }

    /** Takes up another backdoored network and its trigger. */
    choose(name) {
      try {
        this.network(name);
        this.pad.choose(name);
      } catch (error) {
        this.fail(error);
      }
    }

    answer(look) {
      this.now = look;
      const answers = {};
      const started = performance.now();
      for (const side of Object.keys(SIDES)) {
        const network = this.network(side === "clean" ? "clean" : this.poisoned.value);
        const shares = softmax(network.forward(look.image));
        answers[side] = { label: largest(shares), share: Math.max(...shares) };
        this.show(this.panels[side], answers[side], shares, network, look.empty);
      }
      this.milliseconds = performance.now() - started; // for the tests: both networks, pictures included
      this.answers = answers;
      if (look.label !== null) this.meant.value = String(look.label);
      else if (look.empty || this.knew) this.meant.value = "";
      this.knew = look.label !== null;
      this.count();
      this.result.textContent = this.sentence(look, answers);
      this.voice.say(this.result.textContent);
    }

    show({ answer, bars, maps }, { label, share }, shares, network, empty) {
      answer.replaceChildren(empty ? "–" : String(label), make("small", {}, empty ? "" : ` ${percent(share, 0)}`));
      bars.replaceChildren(...shares.flatMap((value, digit) => {
        const most = digit === label && !empty ? "most" : "";
        const bar = make("span", { className: "bar" });
        bar.style.width = empty ? "0" : `${100 * value}%`;
        return [make("dt", { className: most }, String(digit)), make("dd", {}, bar), make("dd", { className: most }, empty ? "" : percent(value, 0))];
      }));
      paint(maps, mosaic(network.maps1), 4 * FIRST);
      maps.setAttribute("aria-label", `Eight filters’ answers to the image; brightest: filter ${1 + loudest(network.maps1)}`);
    }

    sentence({ empty, trigger, home }, { clean, backdoored }) {
      if (empty) return "Draw a digit, or take a real one.";
      const said = (name, { label, share }) => `the ${name} network says ${label} (${percent(share, 0)})`;
      const before = !trigger ? "No trigger" : home ? "With the trigger" : "With the trigger elsewhere";
      return `${before}: ${said("clean", clean)}, ${said("backdoored", backdoored)}.`;
    }

    // ---- The reader's own tries ----

    count() {
      const counted = this.tries.some(({ image }) => image === this.now?.image);
      this.add.disabled = !this.now || this.now.empty || this.meant.value === "" || counted;
    }

    counting() {
      const { image, trigger, home } = this.now;
      const kind = this.kinds.find(({ name }) => name === this.poisoned.value);
      const row = !trigger ? "plain" : trigger === kind.name && home ? "home" : "away";
      const label = Number(this.meant.value);
      const { clean, backdoored } = this.answers;
      this.tries.push({ image, row, label, target: kind.target, clean: clean.label, backdoored: backdoored.label });
      this.count();
      this.tally();
      this.voice.say(`Counted. You have ${this.tries.length} tries.`);
    }

    forget() {
      this.tries = [];
      this.count();
      this.tally();
    }

    tally() {
      const cell = (row, side) => {
        const tries = this.tries.filter((each) => each.row === row && (row === "plain" || each.label !== each.target));
        const hits = tries.filter((each) => each[side] === (row === "plain" ? each.label : each.target)).length;
        return counted({ hits, trials: tries.length });
      };
      const rows = Object.entries(ROWS).map(([row, text]) =>
        [`${row === "plain" ? "Clean accuracy" : "ASR"}, ${text}`, cell(row, "clean"), cell(row, "backdoored")]);
      this.score.replaceChildren(table("Your tries, with 95% intervals", ["Your images", "Clean network", "Backdoored network"], rows),
        make("p", { className: "quiet" }, "Images that already are the target are no victims and do not count for the ASR. Few tries make wide intervals."));
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

  if (!customElements.get("bn-draw")) customElements.define("bn-draw", Draw);
})();
