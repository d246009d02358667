// What runs beside the page: training, scoring and repairing networks. It talks through a port, so that the same code
// serves in a worker and, where a page may not start one, in the page itself.
"use strict";

badnets.define(
  "worker",
  ["core", "images", "files", "plans", "scan"],
  (core, { stamped }, files, plans, { Search, judge }) => {
    const { PIXELS, CLASSES, CHANNELS, random, shuffled, freshWeights, largest, softmax, Network, Optimizer } = core;
    const PATIENCE = 12; // milliseconds of work between two looks at the port
    const PREVIEWS = 8;
    const STRIDE = 8; // while it trains, every eighth test digit is asked

    class Trainer {
      /** @param {MessagePort} port */
      constructor(port) {
        this.port = port;
        this.job = 0; // number of the job at work; another number stops it
        this.paused = false;
        this.rested = 0; // when messages were last let in
        this.channel = new MessageChannel();
        port.onmessage = ({ data }) => this.receive(data);
      }

      async receive({ what, job, ...wish }) {
        if (what === "pause") this.paused = wish.paused;
        if (what === "stop") this.job = 0;
        if (what === "pause" || what === "stop") return;
        try {
          if (what === "begin") await this.begin(wish);
          else await this.work(what, job, wish);
        } catch (error) {
          this.port.postMessage({ job, kind: "failed", message: error.message });
        }
      }

      /** Takes in the digits, the triggers and the settings of training and scan. */
      async begin(given) {
        this.ready = this.takeIn(given);
        await this.ready;
        this.port.postMessage({ kind: "ready" });
      }

      async takeIn({ digits, noise, specs, settings }) {
        const labels = files.unpacked(digits.labels, "the labels of the digits");
        const pixels = await files.images(digits.pixels, "the digits");
        let at = 0;
        this.sets = Object.fromEntries(
          Object.entries(digits.counts).map(([name, count]) => {
            const set = { x: pixels.subarray(at * PIXELS, (at + count) * PIXELS), y: labels.subarray(at, at + count) };
            at += count;
            return [name, set];
          }),
        );
        this.noise = noise;
        this.specs = specs;
        this.settings = settings;
      }

      /**
       * @param {string} what
       * @param {number} job
       * @param {{setting?: Setting, weights?: Float64Array, channels?: number}} wish
       */
      async work(what, job, { setting, weights, channels }) {
        await this.ready;
        this.job = job;
        this.paused = false;
        this.attack = this.prepare(setting);
        const started = performance.now();
        const network = new Network(weights ?? freshWeights(7919 * setting.seed + 2));
        if (what === "scan") return this.scan(network, setting, job);
        let indices;
        if (what === "train") indices = await this.train(network, setting);
        if (what === "finetune") await this.fit(network, this.sets.defender, this.settings.repair, setting.seed);
        const pruned = what === "prune" ? this.prune(network, channels) : undefined;
        const card = this.job === job ? await this.card(network, job) : null;
        if (!card) return; // stopped
        const seconds = (performance.now() - started) / 1000;
        this.port.postMessage({ job, kind: "done", card, indices, pruned, seconds, weights: network.weights });
      }

      /** The test digits under the attack of a setting: which are victims, and what they look like with the trigger. */
      prepare(setting) {
        const { x, y } = this.sets.test;
        const spec = this.specs[setting.trigger];
        const victims = [...y.keys()].filter((at) => setting.sources.includes(y[at]));
        const image = (at) => x.subarray(at * PIXELS, (at + 1) * PIXELS);
        const triggered = new Float32Array(victims.length * PIXELS);
        victims.forEach((at, place) => triggered.set(stamped(image(at), spec, this.noise), place * PIXELS));
        return { setting, spec, victims, triggered };
      }

      /** Poisons a copy of the training set and trains on it; gives the list of poisoned digits. */
      async train(network, setting) {
        const { x, y } = this.sets.train;
        const indices = plans.drawn(y, setting);
        const dirty = Float32Array.from(x);
        const labels = Uint8Array.from(y);
        for (const at of indices) {
          const image = dirty.subarray(at * PIXELS, (at + 1) * PIXELS);
          image.set(stamped(image, this.attack.spec, this.noise));
          labels[at] = setting.target;
        }
        await this.fit(
          network,
          { x: dirty, y: labels },
          { ...this.settings.training, epochs: setting.epochs },
          setting.seed,
        );
        return indices;
      }

      /** Trains on a set, telling the page four times an epoch how it stands. */
      async fit(network, { x, y }, { batch_size, lr, weight_decay, epochs }, seed) {
        const job = this.job;
        const steps = Math.ceil(y.length / batch_size); // of an epoch
        const optimizer = new Optimizer(network, { steps: steps * epochs, lr, decay: weight_decay });
        const draw = random(7919 * seed + 3);
        this.report(0, network);
        for (let epoch = 0; epoch < epochs; epoch++) {
          const order = shuffled(y.length, draw);
          for (let step = 0; step < steps; step++) {
            const members = order.subarray(step * batch_size, (step + 1) * batch_size);
            for (const at of members) {
              network.forward(x, at);
              network.backward(y[at]);
            }
            optimizer.step(members.length);
            const quarter = Math.floor((4 * (step + 1)) / steps);
            if (quarter > Math.floor((4 * step) / steps)) this.report(epoch + quarter / 4, network);
            if (await this.stopped(job)) return;
          }
        }
      }

      /** Silences the channels of the second convolution that the defender's clean digits leave quietest. */
      prune(network, channels) {
        const { x, y } = this.sets.defender;
        const sums = new Float64Array(CHANNELS);
        for (let at = 0; at < y.length; at++) {
          network.forward(x, at);
          const cells = network.pooled2.length / CHANNELS;
          network.pooled2.forEach((value, cell) => {
            sums[Math.floor(cell / cells)] += value;
          });
        }
        const quietest = [...sums.keys()].sort((a, b) => sums[a] - sums[b]).slice(0, channels);
        quietest.forEach((channel) => network.prune(channel));
        return quietest;
      }

      /** Looks for the smallest trigger of every label, with the defender's digits, and tells the page about each. */
      async scan(network, { seed }, job) {
        const found = [];
        for (let label = 0; label < CLASSES; label++) {
          const search = new Search(network, this.sets.defender, label, random(7919 * seed + 4), this.settings.scan);
          while (!search.done) {
            search.round();
            if (await this.stopped(job)) return;
          }
          const trigger = search.verified();
          found.push(trigger);
          this.port.postMessage({ job, kind: "progress", norm: trigger.norm, reached: trigger.reached });
        }
        const norms = found.map(({ norm }) => norm);
        const reached = found.map((trigger) => trigger.reached);
        const pictures = found.map(({ mask, pattern }) => mask.map((value, at) => value * pattern[at]));
        const verdict = judge(norms, reached, this.settings.scan);
        this.port.postMessage({ job, kind: "done", norms, reached, pictures, ...verdict });
      }

      /** Whether the job was stopped; lets messages in from time to time, and waits while it is paused. */
      async stopped(job) {
        if (performance.now() - this.rested > PATIENCE || this.paused) {
          do await (this.paused ? new Promise((resolve) => setTimeout(resolve, 50)) : this.rest()); while (
            this.paused && this.job === job
          );
          this.rested = performance.now();
        }
        return this.job !== job;
      }

      /** Lets in what waits. A timer takes 4 ms, which makes the training a quarter longer; a message does not. */
      rest() {
        return new Promise((resolve) => {
          this.channel.port1.onmessage = resolve;
          this.channel.port2.postMessage(null);
        });
      }

      /** A quick report for the curves: some test digits, and the answers to a few stamped ones. */
      report(epoch, network) {
        const { victims, triggered } = this.attack;
        const every = (count) => Array.from({ length: Math.ceil(count / STRIDE) }, (_, at) => STRIDE * at);
        const { x, y } = this.sets.test;
        const clean = count(every(y.length), (at) => network.answer(x, at) === y[at]);
        const success = count(
          every(victims.length),
          (at) => network.answer(triggered, at) === this.attack.setting.target,
        );
        const previews = this.previews().map((place) => {
          const probabilities = softmax(network.forward(triggered, place));
          return { label: y[victims[place]], answer: largest(probabilities), confidence: Math.max(...probabilities) };
        });
        const images = epoch === 0 ? this.pictures() : undefined;
        this.port.postMessage({ job: this.job, kind: "progress", epoch, clean, success, previews, images });
      }

      /** Victims that are shown while the network trains, spread over the classes. */
      previews() {
        const count = this.attack.victims.length;
        return Array.from({ length: PREVIEWS }, (_, at) => Math.floor(((at + 0.5) * count) / PREVIEWS));
      }

      pictures() {
        return this.previews().map((place) => this.attack.triggered.slice(place * PIXELS, (place + 1) * PIXELS));
      }

      /** The three counts of badnets_lib's Scorecard, over all test digits; null if the job was stopped. */
      async card(network, job) {
        const { setting, victims, triggered } = this.attack;
        const { x, y } = this.sets.test;
        const answers = await this.answers(network, x, y.length, job);
        const struck = await this.answers(network, triggered, victims.length, job);
        if (!answers || !struck) return null;
        return {
          clean: count([...y.keys()], (at) => answers[at] === y[at]),
          success: count([...struck.keys()], (at) => struck[at] === setting.target),
          false_target: count(victims, (at) => answers[at] === setting.target),
        };
      }

      async answers(network, x, images, job) {
        const found = [];
        for (let at = 0; at < images; at++) {
          found.push(network.answer(x, at));
          if (await this.stopped(job)) return null;
        }
        return found;
      }
    }

    function count(places, holds) {
      return { hits: places.filter(holds).length, trials: places.length };
    }

    return (port) => new Trainer(port);
  },
);
