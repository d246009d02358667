// The page's side of the worker: jobs as promises. A job that was stopped is heard of no more.
"use strict";

badnets.define("bench", ["element"], ({ data }) => {
  /** Starts the worker's code in a worker, or in this page where workers from text are forbidden. */
  function startWorker() {
    try {
      const address = URL.createObjectURL(new Blob([badnets.source("worker")], { type: "text/javascript" }));
      return new Worker(address);
    } catch {
      const { port1, port2 } = new MessageChannel();
      badnets.use("worker")(port2);
      return port1;
    }
  }

  class Bench {
    /**
     * @param {TriggerEntry[]} triggers
     * @param {Float32Array} noise
     */
    constructor(triggers, noise) {
      this.specs = Object.fromEntries(triggers.map(({ key, spec }) => [key, spec]));
      this.noise = noise;
      this.job = 0; // number of the newest job; messages of others are not heard
      /** @type {Worker | MessagePort | null} */
      this.worker = null;
      /** @type {Promise<void> | null} */
      this.started = null;
      /** @type {(() => void) | null} */
      this.cancel = null;
    }

    /** Gives the worker a job; resolves with its last message, or with null if it was stopped. */
    ask(what, wish, progress) {
      this.job += 1;
      const { job } = this;
      return new Promise((resolve, reject) => {
        this.cancel = () => resolve(null);
        this.ready().then(() => {
          if (job !== this.job) return; // stopped while the digits were loading
          const listen = ({ data: message }) => {
            if (message.job !== this.job) return;
            if (message.kind === "progress") progress?.(message);
            else if (message.kind === "done") resolve(message);
            else reject(new Error(message.message));
          };
          this.worker.onmessage = listen;
          this.worker.postMessage({ what, job, ...wish });
        }).catch(reject);
      });
    }

    pause(paused) {
      this.worker?.postMessage({ what: "pause", paused });
    }

    stop() {
      this.worker?.postMessage({ what: "stop" });
      this.job += 1;
      this.cancel?.();
    }

    /** The worker, with the digits in it; after a failure the next call tries again. */
    ready() {
      if (!this.started) {
        this.started = this.begin();
        this.started.catch(() => {
          this.started = null;
        });
      }
      return this.started;
    }

    async begin() {
      const digits = await data("digits");
      const worker = startWorker();
      this.worker = worker;
      await new Promise((resolve, reject) => {
        worker.onmessage = (
          { data: message },
        ) => (message.kind === "failed" ? reject(new Error(message.message)) : resolve(message));
        if (worker instanceof Worker) worker.onerror = () => reject(new Error("the worker could not start"));
        worker.postMessage({
          what: "begin",
          digits,
          noise: this.noise,
          specs: this.specs,
          settings: badnets.data.settings,
        });
      });
    }
  }

  return { Bench };
});
