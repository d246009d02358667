// Small comforts for every page of the book. The pages read well without them.
"use strict";

badnets.define("book", [], () => {
  const CALLOUTS = {
    note: "note",
    tip: "note",
    definition: "note",
    "in short": "note",
    pitfall: "warn",
    warning: "warn",
    caution: "warn",
    ethics: "warn",
    "responsible use": "warn",
    exercise: "task",
    "try it": "task",
    "your turn": "task",
    "the case": "story",
    "in the wild": "story",
  };
  const LEAD = "p:first-child > strong:first-child"; // the word in bold with which a callout begins
  const SCROLLERS = [
    "pre",
    ".table-box",
    ".pst-scrollable-table-container",
    ".katex-display",
    "div.math",
    "div.cell_output .output",
  ].join();
  const SETTLED = 150; // milliseconds after the last change of the window's size

  /** Give `> **Pitfall.** ...` (which reads well on Colab too) the look of its kind. */
  function markCallouts(root) {
    for (const quote of root.querySelectorAll("blockquote")) {
      const lead = quote.querySelector(`:scope > div > ${LEAD}, :scope > ${LEAD}`);
      if (!lead) continue;
      const word = lead.textContent.trim().toLowerCase().replace(/\s*\d*[.:!]?$/, "");
      quote.dataset.kind = CALLOUTS[word] ?? "note";
    }
  }

  /** Let a wide table scroll in a box of its own instead of widening the page. */
  function boxTables(root) {
    for (const table of root.querySelectorAll("table")) {
      if (table.closest(".pst-scrollable-table-container, .table-box")) continue;
      const box = document.createElement("div");
      box.className = "table-box";
      table.replaceWith(box);
      box.append(table);
    }
  }

  /** Make whatever scrolls sideways reachable by keyboard, and name it for screen readers. */
  function reachScrollers(root) {
    for (const box of root.querySelectorAll(SCROLLERS)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls && !box.hasAttribute("tabindex")) {
        box.tabIndex = 0;
        box.dataset.reachable = "";
      } else if (!scrolls && "reachable" in box.dataset) {
        box.removeAttribute("tabindex");
        delete box.dataset.reachable;
      }
    }
  }

  /** Docutils gives bibliography entries a role that ARIA has withdrawn; the folds of the theme have no name. */
  function mendRoles(root) {
    for (const entry of root.querySelectorAll('[role="doc-biblioentry"]')) entry.setAttribute("role", "listitem");
    for (const fold of document.querySelectorAll("summary:has(> .toctree-toggle)")) fold.ariaLabel = "Pages below";
  }

  function start() {
    const root = document.querySelector("article.bd-article") ?? document.body;
    markCallouts(root);
    boxTables(root);
    mendRoles(root);
    reachScrollers(root);
    let timer = 0;
    addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(() => reachScrollers(root), SETTLED);
    });
    root.addEventListener("toggle", () => reachScrollers(root), true);
  }

  return { start };
});

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", badnets.use("book").start);
else badnets.use("book").start();
