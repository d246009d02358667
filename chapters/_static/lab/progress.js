// How a training stands: two curves over epochs, and stamped test digits with the network's answers.
"use strict";

badnets.define("progress", ["counts", "toolkit", "element"], ({ percent }, { make, chart }, { digitCanvas }) => {
  const CAPTION = "Squares and dashes are the ASR, circles and full lines clean accuracy; " +
    "on every eighth test digit while it runs.";

  const rate = ({ hits, trials }) => hits / trials;

  /** Clean accuracy and ASR over epochs, as far as they are known. */
  function curves(points, epochs) {
    const last = points.at(-1);
    const now = last && `clean accuracy ${percent(last.clean, 0)}, ASR ${percent(last.success, 0)}`;
    const along = (name) => points.map((point) => [point.epoch / epochs, point[name]]);
    return chart({
      label: last
        ? `Curves over ${epochs} epochs. Now, at epoch ${last.epoch}: ${now}.`
        : "Empty chart: clean accuracy and ASR over epochs.",
      axis: {
        title: "epoch",
        ticks: Array.from({ length: epochs + 1 }, (_, epoch) => ({ place: epoch / epochs, text: String(epoch) })),
      },
      curves: [
        { title: "ASR", kind: "backdoored", points: along("success") },
        { title: "clean accuracy", kind: "clean", points: along("clean") },
      ],
    });
  }

  class Progress {
    constructor() {
      this.figure = make("div");
      this.previews = make("div", { className: "previews" });
      this.node = make("div", {}, this.figure, this.previews);
      /** @type {{canvas: HTMLCanvasElement, words: HTMLElement}[]} */
      this.shown = [];
    }

    /** Forgets the last training and its pictures. */
    clear(epochs) {
      this.begin(epochs);
      this.previews.replaceChildren();
    }

    /** Begins with an empty chart of so many epochs. */
    begin(epochs) {
      this.points = [];
      this.epochs = epochs;
      this.drawCurves();
    }

    /**
     * Takes a message of the worker in; returns it in words.
     * @param {ProgressMessage} message
     */
    add({ epoch, clean, success, previews, images }) {
      const point = { epoch, clean: rate(clean), success: rate(success) };
      this.points.push(point);
      this.drawCurves();
      if (images) this.newPreviews(images);
      previews.forEach((preview, place) => this.showPreview(preview, this.shown[place]));
      const now = `Clean accuracy ${percent(point.clean, 0)}, ASR ${percent(point.success, 0)} so far.`;
      return `epoch ${epoch} of ${this.epochs}. ${now}`;
    }

    drawCurves() {
      this.figure.replaceChildren(curves(this.points, this.epochs), make("p", { className: "caption" }, CAPTION));
    }

    /** Stamped test digits, whose answers will follow. */
    newPreviews(images) {
      this.shown = images.map((image) => ({
        canvas: digitCanvas(image, "A stamped digit"),
        words: make("figcaption"),
      }));
      this.previews.replaceChildren(...this.shown.map(({ canvas, words }) => make("figure", {}, canvas, words)));
    }

    showPreview({ label, answer, confidence }, { canvas, words }) {
      words.textContent = `${label} → ${answer}`;
      canvas.setAttribute("aria-label", `A stamped ${label}; the network says ${answer}, ${percent(confidence, 0)}`);
      canvas.parentElement.classList.toggle("struck", label !== answer);
    }
  }

  return { Progress };
});
