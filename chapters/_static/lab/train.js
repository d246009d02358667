// <bn-train>: the reader poisons 3,000 digits, trains a network on them in the page, and tries to repair it.
"use strict";

(() => {
  const { CHANNELS } = bnLab.use("core");
  const { planOf, reportOf } = bnLab.use("plans");
  const verdict = bnLab.use("verdict");
  const { make, button, field, choice, table, counted, percent, paint, curves, Element, data, triggers } = bnLab.use("page");

  const FRACTIONS = [0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
  const START = { fraction: 0.1, trigger: "square-3", target: 7, sources: "all", epochs: 4, seed: 0 };
  const LIMITS = { epochs: [1, 8], seed: [0, 99] };
  const KEPT_RUNS = 6;
  const DIGITS = Array.from({ length: 10 }, (_, digit) => digit);
  const fractionText = (value) => percent(value, value && value < 0.01 ? 2 : 0);

  /** Starts the worker's code in a worker, or in this page where workers from text are forbidden. */
  function bench() {
    try {
      const address = URL.createObjectURL(new Blob([bnLab.source("worker")], { type: "text/javascript" }));
      return new Worker(address);
    } catch {
      const { port1, port2 } = new MessageChannel();
      bnLab.use("worker")(port2);
      return port1;
    }
  }

  class Train extends Element {
    title_ = "Train your own backdoor";

    async prepare() {
      const { entries, noise } = await triggers();
      Object.assign(this, { entries, noise, runs: [], twins: new Map(), jobs: 0 });
    }

    build() {
      this.box.append(this.controls(), this.stage(), this.kept(), this.repair(), this.scanner());
      this.fill(this.fromLink());
      this.show();
    }

    // ---- The setting ----

    controls() {
      this.output = make("output");
      this.fraction = make("input", { type: "range", min: 0, max: FRACTIONS.length - 1, step: 1, oninput: () => this.changed() });
      this.trigger = choice(this.entries.map(({ key, label }) => [key, label]), START.trigger, () => this.changed());
      this.target = choice(DIGITS.map((digit) => [digit, digit]), START.target, () => this.changed());
      this.number = Object.fromEntries(Object.entries(LIMITS).map(([name, [min, max]]) =>
        [name, make("input", { type: "number", min, max, step: 1, oninput: () => this.changed() })]));
      this.sources = DIGITS.map((digit) => make("input", { type: "checkbox", value: digit, onchange: () => this.changed() }));
      this.link = make("a", { href: "#" }, "Link to this setting");
      this.copy = button("Copy the link", () => this.copyLink());
      this.said = make("p", { className: "quiet" });
      return make("div", {},
        make("div", { className: "columns" },
          make("div", {}, field("Poisoned share of the training set", this.fraction, this.output), field("Trigger", this.trigger), field("Target", this.target)),
          make("div", {}, field("Epochs", this.number.epochs), field("Seed", this.number.seed),
            make("fieldset", {}, make("legend", {}, "Classes under attack"),
              ...DIGITS.map((digit) => make("label", { className: "tick" }, this.sources[digit], String(digit)))))),
        this.said, make("div", { className: "row" }, this.link, this.copy));
    }

    /** @returns {Setting} what the controls say; the target is never a source */
    setting() {
      const target = Number(this.target.value);
      const whole = (name) => {
        const [low, high] = LIMITS[name];
        return Math.min(high, Math.max(low, Math.round(Number(this.number[name].value) || low)));
      };
      const sources = DIGITS.filter((digit) => this.sources[digit].checked && digit !== target);
      return {
        fraction: FRACTIONS[this.fraction.value], trigger: this.trigger.value, target, sources, epochs: whole("epochs"), seed: whole("seed"),
      };
    }

    fill({ fraction, trigger, target, sources, epochs, seed }) {
      this.fraction.value = FRACTIONS.indexOf(fraction);
      this.trigger.value = trigger;
      this.target.value = target;
      this.number.epochs.value = epochs;
      this.number.seed.value = seed;
      this.sources.forEach((box, digit) => { box.checked = sources === "all" || sources.includes(digit); });
      this.changed();
    }

    /** The setting in the page's address, as far as it makes sense; else the start's. */
    fromLink() {
      const asked = new URLSearchParams(location.search);
      const pick = (name, known) => known.find((value) => String(value) === asked.get(name)) ?? START[name];
      const range = ([low, high]) => Array.from({ length: high - low + 1 }, (_, at) => low + at);
      const digits = /^\d{1,10}$/.test(asked.get("sources") ?? "") ? [...asked.get("sources")].map(Number) : "all";
      return {
        fraction: pick("fraction", FRACTIONS), trigger: pick("trigger", this.entries.map(({ key }) => key)), target: pick("target", DIGITS),
        sources: digits, epochs: pick("epochs", range(LIMITS.epochs)), seed: pick("seed", range(LIMITS.seed)),
      };
    }

    changed() {
      const setting = this.setting();
      const sources = DIGITS.length - 1 === setting.sources.length ? "all" : setting.sources.join("");
      this.output.value = fractionText(setting.fraction);
      this.fraction.setAttribute("aria-valuetext", fractionText(setting.fraction));
      this.sources.forEach((box, digit) => { box.disabled = digit === setting.target; });
      const address = new URL(location.href);
      address.search = new URLSearchParams({ ...setting, sources });
      address.hash = this.id;
      this.link.href = address.href;
      this.said.textContent = setting.sources.length
        ? `${Math.round(3000 * setting.fraction)} of 3,000 digits get the trigger and the label ${setting.target}.`
        : "Choose at least one class other than the target.";
      if (this.go) this.go.disabled = this.busy || !setting.sources.length;
    }

    async copyLink() {
      try {
        await navigator.clipboard.writeText(this.link.href);
        this.voice.say("The link is copied.");
        this.copy.textContent = "Copied";
      } catch {
        this.link.focus(); // no clipboard here: the link itself can be copied
        this.voice.say("This browser does not let the page copy; the link beside the button holds the setting.");
      }
    }

    // ---- Training ----

    stage() {
      this.go = button("Train", () => this.train(), { className: "main" });
      this.pause = button("Pause", () => this.pausing(), { disabled: true, "aria-pressed": "false" });
      this.stop = button("Reset", () => this.reset());
      this.status = make("p", { className: "result" });
      this.figure = make("div");
      this.previews = make("div", { className: "previews" });
      return make("div", {}, make("div", { className: "row" }, this.go, this.pause, this.stop), this.status, this.figure, this.previews);
    }

    /** Sends a job to the worker; resolves with its last message, or null if it was stopped. */
    ask(what, wish, progress) {
      const job = (this.jobs += 1);
      return new Promise((done, failed) => {
        this.cancel = () => {
          this.jobs += 1; // what the worker has yet to say of this job, nobody hears
          done(null);
        };
        this.ready().then(() => {
          if (job !== this.jobs) return; // stopped while the digits were loading
          this.worker.onmessage = ({ data: told }) => {
            if (told.job !== this.jobs) return;
            if (told.kind === "progress") progress?.(told);
            else if (told.kind === "done") done(told);
            else failed(new Error(told.message));
          };
          this.worker.postMessage({ what, job, ...wish });
        }).catch(failed);
      });
    }

    /** The worker, with the digits in it. */
    ready() {
      this.begun ??= (async () => {
        const digits = await data("digits");
        this.worker = bench();
        const specs = Object.fromEntries(this.entries.map(({ key, spec }) => [key, spec]));
        await new Promise((done, failed) => {
          this.worker.onmessage = ({ data: told }) => (told.kind === "failed" ? failed(new Error(told.message)) : done());
          this.worker.onerror = () => failed(new Error("the worker could not start"));
          this.worker.postMessage({ what: "begin", digits, noise: this.noise, specs });
        });
      })();
      this.begun.catch(() => { this.begun = null; });
      return this.begun;
    }

    /** Does a long thing with the controls set for it, and tells what came of it. */
    async during(text, long) {
      this.busy = true;
      this.tell(text);
      this.show();
      try {
        return await long();
      } catch (error) {
        this.tell(`That did not work: ${error.message}.`);
        return null;
      } finally {
        this.busy = false;
        this.pause.textContent = "Pause";
        this.pause.setAttribute("aria-pressed", "false");
        this.show();
      }
    }

    async train() {
      const setting = this.setting();
      const run = await this.during("Loading 4,100 digits…", () => this.run(setting));
      if (!run) return;
      this.runs = [...this.runs, run].slice(-KEPT_RUNS);
      this.chosen = run;
      if (setting.fraction === 0) this.twins.set(twinKey(setting), run);
      this.tell(`Done in ${run.seconds.toFixed(1)} s: clean accuracy ${counted(run.card.clean)}, ASR ${counted(run.card.success)}.`);
      this.show();
    }

    async run(setting) {
      const points = [];
      this.draw(points, setting.epochs);
      const done = await this.ask("train", { setting }, (told) => this.progress(told, points, setting.epochs, "Training"));
      return done && { setting, ...done, repaired: [] };
    }

    progress({ epoch, clean, success, previews, images }, points, epochs, text) {
      points.push({ epoch, clean: clean.hits / clean.trials, success: success.hits / success.trials });
      this.draw(points, epochs);
      this.preview(previews, images);
      const now = points.at(-1);
      this.tell(`${text}: epoch ${epoch} of ${epochs}. Clean accuracy ${percent(now.clean, 0)}, ASR ${percent(now.success, 0)} so far.`);
    }

    draw(points, epochs) {
      this.figure.replaceChildren(curves(points, epochs),
        make("p", { className: "quiet" }, "Squares and dashes are the ASR, circles and full lines clean accuracy; on every eighth test digit while it runs."));
    }

    /** Stamped test digits, and what the network makes of them at the moment. */
    preview(previews, images) {
      if (images) {
        this.shown = images.map((image) => {
          const canvas = make("canvas", { className: "pixels", role: "img" });
          paint(canvas, image, 28);
          return { canvas, words: make("figcaption") };
        });
        this.previews.replaceChildren(...this.shown.map(({ canvas, words }) => make("figure", {}, canvas, words)));
      }
      previews.forEach(({ label, answer, share }, at) => {
        const { canvas, words } = this.shown[at];
        words.textContent = `${label} → ${answer}`;
        canvas.setAttribute("aria-label", `A stamped ${label}; the network says ${answer}, ${percent(share, 0)}`);
        canvas.parentElement.classList.toggle("struck", label !== answer);
      });
    }

    pausing() {
      const paused = this.pause.getAttribute("aria-pressed") !== "true";
      this.pause.setAttribute("aria-pressed", String(paused));
      this.pause.textContent = paused ? "Go on" : "Pause";
      this.worker?.postMessage({ what: "pause", paused });
      if (paused) this.tell(`${this.status.textContent} Paused.`);
    }

    /** Stops what runs and forgets all runs. */
    reset() {
      this.worker?.postMessage({ what: "stop" });
      this.cancel?.();
      Object.assign(this, { runs: [], chosen: null, twins: new Map() });
      this.previews.replaceChildren();
      this.draw([], START.epochs);
      this.fill({ ...START });
      this.tell("Ready.");
      this.show();
    }

    tell(text) {
      this.status.textContent = text;
      this.voice.say(text);
    }

    // ---- The last runs ----

    kept() {
      this.table = make("div");
      this.twin = button("Train its clean twin", () => this.trainTwin());
      this.report = button("Download the report", () => this.download("report.json", this.reporting()));
      this.plan = button("Download the index list", () => this.download("plan.json", this.planning()));
      this.note = make("p", { className: "quiet" });
      return make("div", {}, make("h3", {}, "The last runs"), this.table,
        make("div", { className: "row" }, this.twin, this.report, this.plan), this.note);
    }

    /** The clean network with the same seed and epochs; its card says what this trigger does to it. */
    async trainTwin() {
      const { chosen } = this;
      const { setting } = chosen;
      const card = await this.during("Training the clean twin…", async () => {
        const known = this.twins.get(twinKey(setting));
        const twin = known ?? await this.run({ ...setting, fraction: 0 });
        if (!twin) return null;
        this.twins.set(twinKey(setting), twin);
        return (await this.ask("score", { setting, weights: twin.weights }))?.card;
      });
      if (!card) return;
      chosen.twin = card;
      this.tell(`The clean twin: clean accuracy ${counted(card.clean)}; the trigger alone brings it to the target in ${counted(card.success)}.`);
      this.show();
    }

    reporting() {
      const { setting, card, twin, indices, repaired, scan } = this.chosen;
      const { description } = this.entries.find(({ key }) => key === setting.trigger);
      const last = repaired.at(-1);
      const tried = [
        ...(last ? [`${last.text}: clean accuracy ${counted(last.card.clean)}, ASR ${counted(last.card.success)}`] : []),
        ...(scan ? [verdict.words(scan)] : []),
      ];
      const defense = tried.length ? { sees: "weights", outcome: tried.join(". ") } : undefined;
      return reportOf(setting, { card, twin, poisoned: indices.length, size: bnLab.data.digits.counts.train, description, defense });
    }

    planning() {
      const { setting, indices } = this.chosen;
      return planOf(setting, indices, this.entries.find(({ key }) => key === setting.trigger).spec, bnLab.data.digits);
    }

    download(name, content) {
      const address = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 2)}\n`], { type: "application/json" }));
      make("a", { href: address, download: `badnets-lab-${name}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    }

    // ---- Repair ----

    repair() {
      this.tune = button("Fine-tune on 100 clean digits", () => this.mend("finetune", {}, "fine-tuned on 100 clean digits"));
      this.left = make("output");
      this.channels = make("input", { type: "range", min: 1, max: CHANNELS - 1, step: 1, value: 4, oninput: () => this.pruning() });
      this.cut = button("Prune", () => {
        const channels = Number(this.channels.value);
        this.mend("prune", { channels }, `pruned ${channels} of ${CHANNELS} channels`);
      });
      this.repairs = make("div");
      this.pruning();
      return make("div", {}, make("h3", {}, "Defend it"),
        make("p", { className: "quiet" }, "The defender has the network and 100 clean digits that it never saw. Fine-tuning trains on them; pruning silences the channels they leave quietest."),
        make("div", { className: "row" }, this.tune), field("Quietest channels to prune", this.channels, this.left),
        make("div", { className: "row" }, this.cut), this.repairs);
    }

    pruning() {
      this.left.value = `${this.channels.value} of ${CHANNELS}`;
      this.channels.setAttribute("aria-valuetext", this.left.value);
    }

    /** Each repair begins with the trained network, so that repairs can be compared. */
    async mend(what, wish, text) {
      const { chosen } = this;
      const points = [];
      const mended = await this.during(`Working: ${text}…`, () =>
        this.ask(what, { setting: chosen.setting, weights: chosen.weights, ...wish }, (told) => this.progress(told, points, 10, "Fine-tuning")));
      if (!mended) return;
      chosen.repaired.push({ text, card: mended.card });
      this.tell(`${text[0].toUpperCase()}${text.slice(1)}: clean accuracy ${counted(mended.card.clean)}, ASR ${counted(mended.card.success)}.`);
      this.show();
    }

    // ---- Scan ----

    scanner() {
      this.search = button("Scan for a trigger", () => this.scan());
      this.scanned = make("div");
      return make("div", {}, make("h3", {}, "Is there a trigger?"),
        make("p", { className: "quiet" }, "The scan looks for the smallest trigger of every label: one that makes the trained network give that label to the 100 clean digits. " +
          "It flags a label whose trigger is far smaller than the others’: an anomaly index above 2, and at most 42% of the median’s pixels."),
        make("div", { className: "row" }, this.search), this.scanned);
    }

    /** Looks at the network as it was trained, not as it was repaired. */
    async scan() {
      const { chosen } = this;
      const { setting, weights } = chosen;
      chosen.scan = null;
      const norms = [];
      const told = ({ norm }) => {
        norms.push(norm);
        this.tell(verdict.words({ norms }));
        this.scanned.replaceChildren(...verdict.shown({ norms }));
      };
      chosen.scan = await this.during("Scanning for a trigger…", () => this.ask("scan", { setting, weights }, told));
      if (chosen.scan) this.tell(verdict.words(chosen.scan));
      this.show();
    }

    // ---- Showing ----

    show() {
      const { chosen, busy } = this;
      this.go.disabled = busy || !this.setting().sources.length;
      this.pause.disabled = !busy;
      const poisoned = chosen?.indices.length > 0;
      for (const node of [this.tune, this.cut, this.search]) node.disabled = busy || !chosen;
      this.twin.disabled = busy || !poisoned || Boolean(chosen.twin);
      this.plan.disabled = busy || !poisoned;
      this.report.disabled = busy || !poisoned || !chosen.twin;
      this.note.textContent = "The report follows the book’s schema and needs the clean twin: the same network, seed and epochs without poison. " +
        "The index list is a plan that badnets_lib.PoisonPlan.load reads.";
      this.table.replaceChildren(this.runs.length ? this.runTable() : make("p", { className: "quiet" }, "None yet."));
      if (!this.figure.childElementCount) this.draw([], START.epochs);
      this.repairs.replaceChildren(chosen?.repaired.length ? this.repairTable() : "");
      this.scanned.replaceChildren(...(chosen?.scan ? verdict.shown(chosen.scan) : []));
    }

    runTable() {
      const rows = this.runs.map((run) => {
        const { setting, card } = run;
        const { label } = this.entries.find(({ key }) => key === setting.trigger);
        const sources = setting.sources.length === 9 ? "all others" : setting.sources.join(", ");
        return [fractionText(setting.fraction), label, `${sources} → ${setting.target}`, setting.epochs, setting.seed, counted(card.clean), counted(card.success)];
      });
      return table("The last runs, the latest below", ["Share", "Trigger", "Attack", "Epochs", "Seed", "Clean accuracy", "ASR"], rows);
    }

    repairTable() {
      const { card, repaired } = this.chosen;
      const rows = [{ text: "as trained", card }, ...repaired].map((row) => [row.text, counted(row.card.clean), counted(row.card.success)]);
      return table("Before and after repair of the latest run", ["Network", "Clean accuracy", "ASR"], rows);
    }
  }

  const twinKey = ({ epochs, seed }) => `${epochs} ${seed}`;

  if (!customElements.get("bn-train")) customElements.define("bn-train", Train);
})();
