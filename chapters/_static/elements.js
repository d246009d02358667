// Brings each of the book's interactive elements its scripts when it comes near the window. Where no script runs, and
// in print, what stands inside the element is shown.
"use strict";

badnets.define("elements", [], () => {
  const lab = (...names) => names.map((name) => `lab/${name}.js`);
  const TOOLS = ["toolkit.js", "counts.js"];
  const NETWORKS = lab("settings", "core", "images", "files", "element");

  /** Scripts of every element, and data that may arrive while they load. */
  const PARTS = {
    "bn-fraction": { scripts: [...TOOLS, "calculators.js"], data: [] },
    "bn-success": { scripts: [...TOOLS, "calculators.js"], data: [] },
    "bn-explorer": { scripts: ["toolkit.js", "explorer.js"], data: [] },
    "bn-table": { scripts: ["toolkit.js", "tables.js"], data: [] },
    "bn-draw": { scripts: [...TOOLS, ...NETWORKS, ...lab("units", "pad", "draw")], data: lab("beside", "triggers") },
    "bn-quiz": { scripts: [...TOOLS, ...NETWORKS, ...lab("pad", "quiz")], data: lab("six", "triggers") },
    "bn-write": { scripts: [...TOOLS, ...NETWORKS, ...lab("decoder", "write")], data: lab("language") },
    "bn-train": {
      scripts: [
        ...TOOLS,
        ...NETWORKS,
        ...lab("setting", "plans", "scan", "verdict", "worker", "bench", "form", "progress", "train"),
      ],
      data: lab("triggers"), // the digits are fetched when the first training begins
    },
  };
  const LATER = ["lab/digits.js", "lab/lab.css"];
  const AFTER_THE_FIRST_ANSWERS = 2000; // milliseconds

  function bring(element) {
    const { scripts, data } = PARTS[element.localName];
    badnets.load(...data).catch(() => {}); // the element will say what it misses
    badnets.load(...scripts).catch((error) => {
      const message = document.createElement("p");
      message.textContent = `This element cannot start: ${error.message}.`;
      element.prepend(message);
    });
  }

  /** On a page of a web server that has a lab: keep what it loads for a visit without a connection. */
  async function keepForOffline(elements) {
    await navigator.serviceWorker.register(new URL("../offline.js", badnets.base));
    const { active } = await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    const parts = elements.flatMap(({ localName }) => [...PARTS[localName].scripts, ...PARTS[localName].data]);
    const files = [...new Set([...parts, ...LATER])].map((file) => badnets.base + file);
    const ours = loaded.filter((name) => name.startsWith(location.origin));
    active.postMessage([location.href.split("#")[0], ...ours, ...files]);
  }

  function start() {
    const near = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        bring(target);
      }
    }, { rootMargin: "400px" });
    const elements = [...document.querySelectorAll(Object.keys(PARTS).join())];
    elements.forEach((element) => near.observe(element));
    const hasLab = elements.some(({ localName }) => PARTS[localName].scripts.includes("lab/core.js"));
    const served = location.protocol.startsWith("http") && "serviceWorker" in navigator;
    if (!served || !hasLab) return;
    const later = () => setTimeout(() => keepForOffline(elements).catch(() => {}), AFTER_THE_FIRST_ANSWERS);
    if (document.readyState === "complete") later();
    else addEventListener("load", later);
  }

  return { start };
});

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", badnets.use("elements").start);
else badnets.use("elements").start();
