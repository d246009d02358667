// The one register of the book's scripts: each file adds modules to it and takes from it what it needs. Classic scripts
// only: ES modules, fetch and worker files fail on a page opened from a folder, and in the output of a notebook.
"use strict";

// An element with the id "badnets", such as a heading, also answers to that name until something is assigned to it.
if (!globalThis.badnets?.define) globalThis.badnets = undefined;

globalThis.badnets ??= (() => {
  const here = /** @type {HTMLScriptElement | null} */ (document.currentScript)?.src;
  const base = here ? new URL(".", here).href : ""; // in a notebook nothing is loaded: its output holds all it needs
  const modules = new Map(); // name -> {needs, make}
  const made = new Map(); // name -> what make gave
  const loading = new Map(); // file -> promise

  /** Registers a module: `make` is given the modules it needs, and may use nothing else from outside. */
  function define(name, needs, make) {
    if (!modules.has(name)) modules.set(name, { needs, make });
  }

  /** The module of that name, made at its first use. */
  function use(name) {
    if (!modules.has(name)) throw new Error(`no script has registered the module ${name}`);
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
    const lines = chain(name).map((part) => {
      const { needs, make } = modules.get(part);
      return `made.${part} = (${make})(${needs.map((need) => `made.${need}`).join(", ")});`;
    });
    return `"use strict";\nconst made = {};\n${lines.join("\n")}\nmade.${name}(self);`;
  }

  /** Loads scripts beside this one, each once; they are fetched together and run in order. */
  async function load(...files) {
    await Promise.all(files.map(fetchScript));
  }

  /** One script; fails with a message for the reader, who may try again. */
  function fetchScript(file) {
    if (!loading.has(file)) {
      const fetched = new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = base + file;
        script.async = false;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`the file ${file} could not be loaded`));
        document.head.append(script);
      });
      fetched.catch(() => loading.delete(file));
      loading.set(file, fetched);
    }
    return loading.get(file);
  }

  return { base, data: {}, define, use, source, load };
})();
