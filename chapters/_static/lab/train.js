// <bn-train>: the reader poisons some thousand digits, trains a network on them in the page, and tries to repair it.
"use strict";

badnets.define(
  "train",
  ["core", "counts", "toolkit", "element", "setting", "form", "progress", "bench", "plans", "verdict"],
  (
    { CHANNELS },
    { counted, percent },
    toolkit,
    element,
    settings,
    { Form },
    { Progress },
    { Bench },
    plans,
    verdict,
  ) => {
    const { make, button, field, table } = toolkit;
    const { START, fromQuery, fractionText, attackText } = settings;
    const { triggers, LabElement } = element;
    const KEPT_RUNS = 6;
    const READY = "Ready.";

    const outcome = ({ clean, success }) => `clean accuracy ${counted(clean)}, ASR ${counted(success)}`;
    const capitalised = (text) => text[0].toUpperCase() + text.slice(1);
    const twinKey = ({ epochs, seed }) => `${epochs} ${seed}`;

    function repairTable({ card, repaired }) {
      const rows = [{ text: "as trained", card }, ...repaired].map((row) => [
        row.text,
        counted(row.card.clean),
        counted(row.card.success),
      ]);
      return table("Before and after repair of the latest run", ["Network", "Clean accuracy", "ASR"], rows);
    }

    /** Hands the reader a file. */
    function download(name, content) {
      const text = `${JSON.stringify(content, null, 2)}\n`;
      const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      make("a", { href: address, download: `badnets-lab-${name}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    }

    class Train extends LabElement {
      static caption = "Train your own backdoor";

      async prepare() {
        const { entries, noise } = await triggers();
        this.settings = badnets.data.settings;
        this.entries = entries;
        this.bench = new Bench(entries, noise);
        this.forgetRuns();
      }

      build() {
        this.form = new Form(this.entries, {
          id: this.id,
          images: this.settings.sets.train,
          changed: () => this.show(),
          say: (text) => this.voice.say(text),
        });
        const parts = [this.makeStage(), this.makeRuns(), this.makeRepair(), this.makeScanner()];
        this.box.append(this.form.node, ...parts);
        this.progress.begin(START.epochs);
        this.form.setting = fromQuery(location.search, this.entries.map(({ key }) => key));
      }

      forgetRuns() {
        /** @type {Run[]} */
        this.runs = [];
        /** @type {Run | null} */
        this.latest = null;
        /** @type {Map<string, Run>} */
        this.twins = new Map(); // trained without poison, by seed and epochs
      }

      entryOf({ trigger }) {
        return this.entries.find(({ key }) => key === trigger);
      }

      // ---- Training ----

      makeStage() {
        this.trainButton = button("Train", () => this.train(), { className: "main" });
        this.pauseButton = button("Pause", () => this.togglePause(), { disabled: true, "aria-pressed": "false" });
        this.status = make("p", { className: "result" });
        this.progress = new Progress();
        const reset = button("Reset", () => this.reset());
        return make(
          "div",
          {},
          make("div", { className: "row" }, this.trainButton, this.pauseButton, reset),
          this.status,
          this.progress.node,
        );
      }

      /** Does something long with the controls set for it, and says what came of it. */
      async whileBusy(text, work) {
        this.busy = true;
        this.announce(text);
        this.show();
        try {
          return await work();
        } catch (error) {
          this.announce(`That did not work: ${error.message}.`);
          return null;
        } finally {
          this.busy = false;
          this.showPaused(false);
          this.show();
        }
      }

      async train() {
        const { setting } = this.form;
        const { train, defender, test } = this.settings.sets;
        const digits = (train + defender + test).toLocaleString("en");
        const run = await this.whileBusy(`Loading ${digits} digits…`, () => this.run(setting));
        if (!run) return;
        this.runs = [...this.runs, run].slice(-KEPT_RUNS);
        this.latest = run;
        if (setting.fraction === 0) this.twins.set(twinKey(setting), run);
        this.announce(`Done in ${run.seconds.toFixed(1)} s: ${outcome(run.card)}.`);
        this.show();
      }

      /** Trains one network; null if it was stopped. */
      async run(setting) {
        this.progress.begin(setting.epochs);
        const show = (message) => this.announce(`Training: ${this.progress.add(message)}`);
        const done = await this.bench.ask("train", { setting }, show);
        return done && { setting, ...done, repaired: [] };
      }

      togglePause() {
        const paused = this.pauseButton.getAttribute("aria-pressed") !== "true";
        this.showPaused(paused);
        this.bench.pause(paused);
        if (paused) this.announce(`${this.status.textContent} Paused.`);
      }

      showPaused(paused) {
        this.pauseButton.setAttribute("aria-pressed", String(paused));
        this.pauseButton.textContent = paused ? "Go on" : "Pause";
      }

      /** Stops what runs and forgets all runs. */
      reset() {
        this.bench.stop();
        this.forgetRuns();
        this.progress.clear(START.epochs);
        this.form.setting = START;
        this.announce(READY);
      }

      announce(text) {
        this.status.textContent = text;
        this.voice.say(text);
      }

      // ---- The last runs ----

      makeRuns() {
        this.table = make("div");
        this.twinButton = button("Train its clean twin", () => this.trainTwin());
        this.reportButton = button("Download the report", () => download("report.json", this.report()));
        this.planButton = button("Download the index list", () => download("plan.json", this.plan()));
        const note =
          "The report follows the book’s schema and needs the clean twin: the same network, seed and epochs " +
          "without poison. The index list is a plan that badnets_lib.PoisonPlan.load reads.";
        return make(
          "div",
          {},
          make("h3", {}, "The last runs"),
          this.table,
          make("div", { className: "row" }, this.twinButton, this.reportButton, this.planButton),
          make("p", { className: "quiet" }, note),
        );
      }

      /** The clean network with the same seed and epochs; its card says what this trigger does to it. */
      async trainTwin() {
        const { latest } = this;
        const { setting } = latest;
        const card = await this.whileBusy("Training the clean twin…", async () => {
          const twin = this.twins.get(twinKey(setting)) ?? await this.run({ ...setting, fraction: 0 });
          if (!twin) return null;
          this.twins.set(twinKey(setting), twin);
          return (await this.bench.ask("score", { setting, weights: twin.weights }))?.card;
        });
        if (!card) return;
        latest.twinCard = card;
        const bare = `the trigger alone brings it to the target in ${counted(card.success)}`;
        this.announce(`The clean twin: clean accuracy ${counted(card.clean)}; ${bare}.`);
        this.show();
      }

      report() {
        const { setting, card, twinCard, indices, repaired, scan } = this.latest;
        const last = repaired.at(-1);
        const tried = [];
        if (last) tried.push(`${last.text}: ${outcome(last.card)}`);
        if (scan) tried.push(verdict.sentence(scan));
        const found = {
          card,
          twin: twinCard,
          poisoned: indices.length,
          description: this.entryOf(setting).description,
          defense: tried.length ? { sees: "weights", outcome: tried.join(". ") } : undefined,
        };
        return plans.reportOf(setting, found, this.settings);
      }

      plan() {
        const { setting, indices } = this.latest;
        return plans.planOf(setting, indices, this.entryOf(setting).spec, badnets.data.digits);
      }

      runTable() {
        const heads = ["Fraction", "Trigger", "Attack", "Epochs", "Seed", "Clean accuracy", "ASR"];
        const rows = this.runs.map(({ setting, card }) => [
          fractionText(setting.fraction),
          this.entryOf(setting).label,
          attackText(setting),
          setting.epochs,
          setting.seed,
          counted(card.clean),
          counted(card.success),
        ]);
        return table("The last runs, the latest below", heads, rows);
      }

      // ---- Repair ----

      makeRepair() {
        const { defender } = this.settings.sets;
        const tuning = `fine-tuned on ${defender} clean digits`;
        this.tuneButton = button(`Fine-tune on ${defender} clean digits`, () => this.repair("finetune", {}, tuning));
        this.channelsText = make("output");
        this.channels = make("input", {
          type: "range",
          min: 1,
          max: CHANNELS - 1,
          step: 1,
          value: 4,
          oninput: () => this.showChannels(),
        });
        this.pruneButton = button("Prune", () => {
          const channels = Number(this.channels.value);
          this.repair("prune", { channels }, `pruned ${channels} of ${CHANNELS} channels`);
        });
        this.repairs = make("div");
        this.showChannels();
        const note = `The defender has the network and ${defender} clean digits that it never saw. ` +
          "Fine-tuning trains on them; pruning silences the channels they leave quietest.";
        return make(
          "div",
          {},
          make("h3", {}, "Defend it"),
          make("p", { className: "quiet" }, note),
          make("div", { className: "row" }, this.tuneButton),
          field("Quietest channels to prune", this.channels, this.channelsText),
          make("div", { className: "row" }, this.pruneButton),
          this.repairs,
        );
      }

      showChannels() {
        this.channelsText.value = `${this.channels.value} of ${CHANNELS}`;
        this.channels.setAttribute("aria-valuetext", this.channelsText.value);
      }

      /** Each repair begins with the trained network, so that repairs can be compared. */
      async repair(what, wish, text) {
        const { latest } = this;
        const { setting, weights } = latest;
        const show = (message) => this.announce(`Fine-tuning: ${this.progress.add(message)}`);
        const done = await this.whileBusy(
          `Working: ${text}…`,
          () => this.bench.ask(what, { setting, weights, ...wish }, show),
        );
        if (!done) return;
        latest.repaired.push({ text, card: done.card });
        this.announce(`${capitalised(text)}: ${outcome(done.card)}.`);
        this.show();
      }

      // ---- Scan ----

      makeScanner() {
        const { threshold, ratio } = this.settings.scan;
        this.scanButton = button("Scan for a trigger", () => this.scan());
        this.scanned = make("div");
        const note =
          "The scan looks for the smallest trigger of every label: one that makes the trained network give that " +
          `label to the ${this.settings.sets.defender} clean digits. It flags a label whose trigger is far smaller ` +
          `than the others’: an anomaly index above ${threshold}, and at most ${
            percent(ratio, 0)
          } of the median’s pixels.`;
        return make(
          "div",
          {},
          make("h3", {}, "Is there a trigger?"),
          make("p", { className: "quiet" }, note),
          make("div", { className: "row" }, this.scanButton),
          this.scanned,
        );
      }

      /** Looks at the network as it was trained, not as it was repaired. */
      async scan() {
        const { latest } = this;
        const { setting, weights } = latest;
        const norms = [];
        const reached = [];
        const show = (message) => {
          norms.push(message.norm);
          reached.push(message.reached);
          this.announce(verdict.sentence({ norms, reached }));
          this.scanned.replaceChildren(...verdict.nodes({ norms, reached }));
        };
        latest.scan = null;
        latest.scan = await this.whileBusy(
          "Scanning for a trigger…",
          () => this.bench.ask("scan", { setting, weights }, show),
        );
        if (latest.scan) this.announce(verdict.sentence(latest.scan));
        this.show();
      }

      // ---- Showing ----

      /** What can be done now, and what is known of the runs. */
      show() {
        const { latest, busy } = this;
        const poisoned = latest !== null && latest.indices.length > 0;
        this.trainButton.disabled = busy || !this.form.complete;
        this.pauseButton.disabled = !busy;
        for (const node of [this.tuneButton, this.pruneButton, this.scanButton]) node.disabled = busy || !latest;
        this.twinButton.disabled = busy || !poisoned || latest.twinCard !== undefined;
        this.planButton.disabled = busy || !poisoned;
        this.reportButton.disabled = busy || !poisoned || latest.twinCard === undefined;
        this.table.replaceChildren(this.runs.length ? this.runTable() : make("p", { className: "quiet" }, "None yet."));
        this.repairs.replaceChildren(...(latest?.repaired.length ? [repairTable(latest)] : []));
        this.scanned.replaceChildren(...(latest?.scan ? verdict.nodes(latest.scan) : []));
      }
    }

    toolkit.register("bn-train", Train);
    return {};
  },
);

badnets.use("train");
