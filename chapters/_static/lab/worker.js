// What runs beside the page: training, scoring and repairing networks. It talks through a port, so that the same code
// serves in a worker and, where a page may not start one, in the page itself.
"use strict";

bnLab.define("worker", ["core", "images", "files", "plans", "scan"], (core, { stamped }, files, plans, { Search, judge }) => {
  const { PIXELS, CLASSES, CHANNELS, random, shuffled, freshWeights, largest, softmax, Network, Optimizer } = core;
  const RECIPE = { batch: 32, lr: 0.004, decay: 0.01 };
  const REPAIR = { batch: 10, lr: 0.001, decay: 0, epochs: 10 };
  const PATIENCE = 12; // milliseconds of work between two looks at the port
  const PREVIEWS = 8;
  const LOOK = 8; // while it trains, every eighth test digit is asked

  /** @typedef {{hits: number, trials: number}} Count */

  class Bench {
    /** @param {MessagePort | DedicatedWorkerGlobalScope} port */
    constructor(port) {
      this.port = port;
      this.job = 0; // number of the job at work; another number stops it
      this.paused = false;
      port.onmessage = ({ data }) => this.hear(data);
    }

    async hear({ what, job, ...wish }) {
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

    /** Takes the digits in. */
    async begin({ digits, noise, specs }) {
      this.ready = (async () => {
        const labels = files.unpacked(digits.labels, "the labels of the digits");
        const pixels = await files.images(digits.pixels, "the digits");
        let at = 0;
        this.sets = Object.fromEntries(Object.entries(digits.counts).map(([name, count]) => {
          const set = { x: pixels.subarray(at * PIXELS, (at + count) * PIXELS), y: labels.subarray(at, at + count) };
          at += count;
          return [name, set];
        }));
        [this.noise, this.specs] = [noise, specs];
      })();
      await this.ready;
      this.port.postMessage({ kind: "ready" });
    }

    async work(what, job, { setting, weights, channels }) {
      await this.ready;
      [this.job, this.paused] = [job, false];
      this.attack = this.prepare(setting);
      const started = performance.now();
      const network = new Network(weights ?? freshWeights(7919 * setting.seed + 2));
      if (what === "scan") return this.scan(network, setting, job);
      let indices;
      if (what === "train") indices = await this.train(network, setting);
      if (what === "finetune") await this.fit(network, this.sets.defender, { ...REPAIR, seed: setting.seed });
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
      const [dirty, labels] = [Float32Array.from(x), Uint8Array.from(y)];
      for (const at of indices) {
        const image = dirty.subarray(at * PIXELS, (at + 1) * PIXELS);
        image.set(stamped(image, this.attack.spec, this.noise));
        labels[at] = setting.target;
      }
      await this.fit(network, { x: dirty, y: labels }, { ...RECIPE, epochs: setting.epochs, seed: setting.seed });
      return indices;
    }

    /** Trains on a set, telling the page four times an epoch how it stands. */
    async fit(network, { x, y }, { batch, lr, decay, epochs, seed }) {
      const job = this.job;
      const each = Math.ceil(y.length / batch);
      const optimizer = new Optimizer(network, { steps: each * epochs, lr, decay });
      const draw = random(7919 * seed + 3);
      this.tell(0, network);
      for (let epoch = 0; epoch < epochs; epoch++) {
        const order = shuffled(y.length, draw);
        for (let step = 0; step < each; step++) {
          const members = order.subarray(step * batch, (step + 1) * batch);
          for (const at of members) {
            network.forward(x, at);
            network.backward(y[at]);
          }
          optimizer.step(members.length);
          const quarter = Math.floor((4 * (step + 1)) / each);
          if (quarter > Math.floor((4 * step) / each)) this.tell(epoch + quarter / 4, network);
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
        network.pooled2.forEach((value, cell) => { sums[Math.floor(cell / cells)] += value; });
      }
      const quietest = [...sums.keys()].sort((a, b) => sums[a] - sums[b]).slice(0, channels);
      quietest.forEach((channel) => network.prune(channel));
      return quietest;
    }

    /** Looks for the smallest trigger of every label, with the defender's digits, and tells the page about each. */
    async scan(network, { seed }, job) {
      const found = [];
      for (let label = 0; label < CLASSES; label++) {
        const search = new Search(network, this.sets.defender, label, random(7919 * seed + 4));
        while (!search.done) {
          search.round();
          if (await this.stopped(job)) return;
        }
        found.push(search.best);
        this.port.postMessage({ job, kind: "progress", norm: search.best.norm });
      }
      const norms = found.map(({ norm }) => norm);
      const pictures = found.map(({ mask, pattern }) => mask.map((value, at) => value * pattern[at]));
      this.port.postMessage({ job, kind: "done", norms, pictures, ...judge(norms) });
    }

    /** Whether the job was stopped; lets messages in from time to time, and waits while it is paused. */
    async stopped(job) {
      if (performance.now() - (this.breath ?? 0) > PATIENCE || this.paused) {
        do await (this.paused ? new Promise((go) => setTimeout(go, 50)) : this.turn());
        while (this.paused && this.job === job);
        this.breath = performance.now();
      }
      return this.job !== job;
    }

    /** One turn for whatever waits. A timer takes 4 ms for it, which makes the training a quarter longer; a message does not. */
    turn() {
      this.channel ??= new MessageChannel();
      return new Promise((go) => {
        this.channel.port1.onmessage = go;
        this.channel.port2.postMessage(null);
      });
    }

    /** A quick look for the curves: some test digits, and the answers to a few stamped ones. */
    tell(epoch, network) {
      const { victims, triggered } = this.attack;
      const every = (count) => Array.from({ length: Math.ceil(count / LOOK) }, (_, at) => LOOK * at);
      const { x, y } = this.sets.test;
      const clean = count(every(y.length), (at) => network.answer(x, at) === y[at]);
      const success = count(every(victims.length), (at) => network.answer(triggered, at) === this.attack.setting.target);
      const previews = this.previews().map((place) => {
        const shares = softmax(network.forward(triggered, place));
        return { label: y[victims[place]], answer: largest(shares), share: Math.max(...shares) };
      });
      this.port.postMessage({ job: this.job, kind: "progress", epoch, clean, success, previews, images: this.pictures(epoch) });
    }

    /** Victims that are shown while the network trains, spread over the classes. */
    previews() {
      const count = this.attack.victims.length;
      return Array.from({ length: PREVIEWS }, (_, at) => Math.floor(((at + 0.5) * count) / PREVIEWS));
    }

    pictures(epoch) {
      if (epoch) return undefined;
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

  /** @returns {Count} */
  function count(places, holds) {
    return { hits: places.filter(holds).length, trials: places.length };
  }

  return (port) => new Bench(port);
});
