// What a scan for a trigger found: a bar and a number for every label, the verdict in words, the trigger it suspects.
"use strict";

badnets.define("verdict", ["core", "element", "toolkit"], ({ PIXELS, CLASSES }, { digitCanvas }, { make, table }) => {
  const pixels = (norm) => norm.toFixed(norm < 10 ? 1 : 0);

  /** An anomaly index; the 0 that is added takes the minus from a zero. */
  const index = (value) => (Math.round(10 * value) / 10 + 0).toFixed(1).replace("-", "−");

  /** A scan of some or all labels in words. */
  function sentence({ norms, reached, anomaly, flagged, middle }) {
    if (!flagged) return `Scanning: ${norms.length} of ${CLASSES} labels.`;
    const missed = norms.map((_, label) => label).filter((label) => !reached[label]);
    const rest = missed.length ? ` No trigger was found for ${missed.join(", ")}: the scan knows nothing of them.` : "";
    if (!flagged.length) {
      return "The scan flags no label: none has a far smaller trigger than the others. " +
        `That does not prove the network clean.${rest}`;
    }
    const suspects = flagged.map((label) =>
      `label ${label}: ${pixels(norms[label])} pixels bring it about, anomaly index ${index(anomaly[label])}`
    );
    return `The scan flags ${suspects.join("; ")}. The median label takes ${pixels(middle)} pixels.${rest}`;
  }

  function bar(norm, most, suspect) {
    const strip = make("span", { className: "bar" });
    strip.style.width = `${(100 * norm) / most}%`;
    return make(
      "td",
      { className: suspect ? "backdoored" : "clean" },
      make("div", { className: "measure" }, make("span", {}, strip), make("span", {}, pixels(norm))),
    );
  }

  /** A scan of some or all labels as the page shows it: sentence, triggers found, a bar for every label. */
  function nodes(scan) {
    const { norms, reached, anomaly, flagged, pictures } = scan;
    const most = Math.max(1, ...norms.filter((_, label) => reached[label]));
    const rows = norms.map((norm, label) => {
      if (!reached[label]) return [label, "–", "–", "no trigger found"];
      const suspect = flagged?.includes(label) ?? false;
      return [label, bar(norm, most, suspect), anomaly ? index(anomaly[label]) : "–", suspect ? "flagged" : ""];
    });
    const found = (flagged ?? []).map((label) => {
      const canvas = digitCanvas(pictures[label], `The trigger found for label ${label}, on black`);
      return make("figure", {}, canvas, make("figcaption", {}, `Found for label ${label}`));
    });
    return [
      make("p", { className: "result" }, sentence(scan)),
      make("div", { className: "previews" }, ...found),
      table(
        "Smallest trigger found for every label",
        ["Label", `Pixels of ${PIXELS}`, "Anomaly index", "Verdict"],
        rows,
      ),
    ];
  }

  return { sentence, nodes };
});
