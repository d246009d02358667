// What a scan for a trigger found: a bar and a number for every label, the verdict in words, and the trigger it suspects.
"use strict";

bnLab.define("verdict", ["core", "page"], ({ PIXELS, SIDE, CLASSES }, { make, table, paint }) => {
  /**
   * @typedef {Object} Scan
   * @property {number[]} norms pixels that the smallest trigger of each label covers (the mask's L1 norm), as far as known
   * @property {number[]} [anomaly] index of each label
   * @property {number[]} [flagged] labels
   * @property {number} [middle] median of the norms
   * @property {number[][]} [pictures] 784 grey levels of each label's trigger
   */

  const pixels = (norm) => norm.toFixed(norm < 10 ? 1 : 0);
  const index = (value) => (Math.round(10 * value) / 10 + 0).toFixed(1).replace("-", "−"); // + 0: no minus before a zero

  /** @param {Scan} scan of some or all labels */
  function words({ norms, anomaly, flagged, middle }) {
    if (!flagged) return `Scanning: ${norms.length} of ${CLASSES} labels.`;
    if (!flagged.length) {
      return "The scan flags no label: none has a far smaller trigger than the others. That does not prove the network clean.";
    }
    const each = flagged.map((label) => `label ${label}: ${pixels(norms[label])} pixels bring it about, anomaly index ${index(anomaly[label])}`);
    return `The scan flags ${each.join("; ")}. The median label takes ${pixels(middle)} pixels.`;
  }

  function bar(norm, most, suspect) {
    const strip = make("span", { className: "bar" });
    strip.style.width = `${(100 * norm) / most}%`;
    return make("td", { className: suspect ? "backdoored" : "clean" },
      make("div", { className: "measure" }, make("span", {}, strip), make("span", {}, pixels(norm))));
  }

  /** @param {Scan} scan of some or all labels */
  function shown(scan) {
    const { norms, anomaly, flagged, pictures } = scan;
    const most = Math.max(...norms);
    const rows = norms.map((norm, label) => {
      const suspect = flagged?.includes(label);
      return [label, bar(norm, most, suspect), anomaly ? index(anomaly[label]) : "–", suspect ? "flagged" : ""];
    });
    const found = (flagged ?? []).map((label) => {
      const canvas = make("canvas", { className: "pixels", role: "img", "aria-label": `The trigger found for label ${label}, on black` });
      paint(canvas, pictures[label], SIDE);
      return make("figure", {}, canvas, make("figcaption", {}, `Found for label ${label}`));
    });
    return [
      make("p", { className: "result" }, words(scan)), make("div", { className: "previews" }, ...found),
      table("Smallest trigger found for every label", ["Label", `Pixels of ${PIXELS}`, "Anomaly index", "Verdict"], rows),
    ];
  }

  return { words, shown };
});
