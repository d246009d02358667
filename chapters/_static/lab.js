// Brings the browser lab to the pages that use it: <bn-draw>, <bn-train> and <bn-quiz>. Everything else lies in lab/
// and is fetched when such an element comes near the window. Classic scripts only: modules, fetch and worker files
// fail on a page opened from a folder. Where a script cannot run, the picture inside the element is shown; in print too.
"use strict";

/** The lab's few globals: a register of modules and of data, and the way to more of either. */
globalThis.bnLab ??= (() => {
  const base = new URL("lab/", document.currentScript.src).href;
  const modules = new Map(); // name -> {needs, make}
  const made = new Map(); // name -> what make gave
  const loading = new Map(); // file -> promise

  /** Registers a module: `make` is given the modules it needs, and may use nothing else from outside. */
  function define(name, needs, make) {
    modules.set(name, { needs, make });
  }

  /** The module of that name, made at its first use. */
  function use(name) {
    if (!made.has(name)) {
      const { needs, make } = modules.get(name);
      made.set(name, make(...needs.map(use)));
    }
    return made.get(name);
  }

  /** Names of a module and of all it needs, the needed ones first. */
  function chain(name) {
    return [...new Set([...modules.get(name).needs.flatMap(chain), name])];
  }

  /** The text of a script that makes a module from nothing and calls it with `self`: what a worker is started with. */
  function source(name) {
    const lines = chain(name).map((each) => {
      const { needs, make } = modules.get(each);
      return `made.${each} = (${make})(${needs.map((need) => `made.${need}`).join(", ")});`;
    });
    return `"use strict";\nconst made = {};\n${lines.join("\n")}\nmade.${name}(self);`;
  }

  /** Loads scripts of lab/, each once; they are fetched together and run in order. Fails with a message for the reader. */
  async function load(...files) {
    await Promise.all(files.map(fetchScript));
  }

  function fetchScript(file) {
    if (!loading.has(file)) {
      const fetched = new Promise((done, failed) => {
        const script = Object.assign(document.createElement("script"), { src: base + file, async: false, onload: done });
        script.onerror = () => failed(new Error(`the file lab/${file} could not be loaded`));
        document.head.append(script);
      });
      fetched.catch(() => loading.delete(file)); // the reader may try again
      loading.set(file, fetched);
    }
    return loading.get(file);
  }

  return { base, data: {}, define, use, source, load };
})();

(() => {
  const SCRIPTS = {
    "bn-draw": ["core.js", "images.js", "files.js", "page.js", "pad.js", "draw.js"],
    "bn-quiz": ["core.js", "images.js", "files.js", "page.js", "pad.js", "quiz.js"],
    "bn-train": ["core.js", "images.js", "files.js", "page.js", "plans.js", "scan.js", "verdict.js", "worker.js", "train.js"],
  };

  const DATA = {
    "bn-draw": ["beside.js", "triggers.js"],
    "bn-quiz": ["six.js", "triggers.js"],
    "bn-train": ["digits.js", "triggers.js"],
  };

  function bring(element) {
    if (element.localName !== "bn-train") bnLab.load(...DATA[element.localName]).catch(() => {}); // the element will tell
    bnLab.load(...SCRIPTS[element.localName]).catch((error) => {
      element.prepend(Object.assign(document.createElement("p"), { textContent: `The lab cannot start: ${error.message}.` }));
    });
  }

  const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      bring(target);
    }
  }, { rootMargin: "400px" });

  /** On a page of a web server that has a lab: keep what it loads for a visit without a connection. */
  async function stayOffline() {
    await navigator.serviceWorker.register(new URL("../../offline.js", bnLab.base));
    const { active } = await navigator.serviceWorker.ready;
    const files = [...new Set(elements.flatMap(({ localName }) => [...SCRIPTS[localName], ...DATA[localName]]))];
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name).filter((name) => name.startsWith(location.origin));
    active.postMessage([location.href.split("#")[0], ...loaded, ...["lab.css", ...files].map((file) => bnLab.base + file)]);
  }

  const elements = [...document.querySelectorAll(Object.keys(SCRIPTS).join())];
  elements.forEach((element) => near.observe(element));
  const served = location.protocol.startsWith("http") && "serviceWorker" in navigator;
  const later = () => setTimeout(() => stayOffline().catch(() => {}), 2000); // the first answers come first
  if (served && elements.length) addEventListener("load", later); // without it, all but this works
})();
