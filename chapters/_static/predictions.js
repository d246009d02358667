// Predictions: the result of the next cell, and the text that speaks of it, wait until the reader has chosen; the first
// choice counts. The choices stay on this device. Without scripts, and in print, everything is shown.
"use strict";

badnets.define("predictions", [], () => {
  const PREFIX = "badnets prediction ";

  /** A short mark of a text; a question that changes is asked anew. */
  function mark(text) {
    let hash = 0;
    for (const letter of text.replace(/\s+/g, " ").trim()) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) | 0;
    return (hash >>> 0).toString(36);
  }

  /** The letter that was chosen, or null; a browser may forbid the store. */
  function recall(key) {
    try {
      return localStorage.getItem(PREFIX + key);
    } catch {
      return null;
    }
  }

  function remember(key, letter) {
    try {
      if (letter === null) localStorage.removeItem(PREFIX + key);
      else localStorage.setItem(PREFIX + key, letter);
    } catch {
      // The choice then lasts as long as the page.
    }
  }

  /** The first output after a group, in its own section and before the next group, and the text up to the next cell. */
  function resultAfter(group) {
    const result = [];
    for (let next = group.nextElementSibling; next; next = next.nextElementSibling) {
      if (next.matches(".predict, section")) break;
      if (result.length) {
        if (next.matches(".cell")) break;
        result.push(next);
      } else if (!next.matches(".tag_hide-cell, .tag_hide-output")) {
        const output = next.querySelector(".cell_output");
        if (output) result.push(output);
      }
    }
    return result;
  }

  /** One group of possible predictions. */
  class Prediction {
    constructor(group, changed) {
      this.group = group;
      this.options = [...group.querySelectorAll(":scope > details")];
      this.key = mark(location.pathname.split("/").pop() + group.textContent);
      this.chosen = recall(this.key);
      this.result = resultAfter(group);
      this.button = document.createElement("button");
      this.button.type = "button";
      this.button.className = "predict-show";
      this.button.textContent = "Choose a prediction above, or show the result";
      this.button.addEventListener("click", () => this.show(true));
      this.options.forEach((option) => option.addEventListener("toggle", () => this.choose(option, changed)));
      if (this.chosen) this.restore();
      else this.hide();
    }

    letter(option) {
      return option.querySelector("summary").textContent.trim()[0];
    }

    get right() {
      const option = this.options.find((each) => this.letter(each) === this.chosen);
      return Boolean(option?.querySelector("p")?.textContent.trim().startsWith("Right"));
    }

    hide() {
      if (!this.result.length) return;
      for (const part of this.result) part.classList.add("predict-waits");
      this.result[0].before(this.button);
    }

    show(focus = false) {
      for (const part of this.result) part.classList.remove("predict-waits");
      this.button.remove();
      const [output] = this.result;
      if (!focus || !output) return;
      output.tabIndex = -1;
      output.focus({ preventScroll: true });
    }

    choose(option, changed) {
      if (!option.open || this.chosen) return;
      this.chosen = this.letter(option);
      remember(this.key, this.chosen);
      this.restore();
      changed();
    }

    restore() {
      for (const option of this.options) option.classList.toggle("chosen", this.letter(option) === this.chosen);
      this.show();
    }

    forget() {
      this.chosen = null;
      remember(this.key, null);
      for (const option of this.options) {
        option.classList.remove("chosen");
        option.open = false;
      }
      this.hide();
    }
  }

  /** The line before the quiz that counts them. */
  function tally(predictions, forget) {
    const made = predictions.filter(({ chosen }) => chosen);
    const right = made.filter((each) => each.right);
    const line = document.createElement("p");
    line.className = "predict-tally";
    line.setAttribute("role", "status");
    const all = predictions.length;
    const count = all === 1 ? "1 prediction" : `${all} predictions`;
    line.textContent = made.length
      ? `This page asks for ${count}. You made ${made.length}, and ${right.length} came true. `
      : `This page asks for ${count}. You made none yet. `;
    if (made.length) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "predict-show";
      button.textContent = "Forget them";
      button.addEventListener("click", forget);
      line.append(button);
    }
    return line;
  }

  function start() {
    const root = document.querySelector("article.bd-article") ?? document.body;
    const groups = [...root.querySelectorAll(".predict")];
    if (!groups.length) return;
    const place = root.querySelector("#check-yourself > :is(h2, h3)");
    let line = document.createElement("p");
    const predictions = [];
    const forget = () => {
      for (const each of predictions) each.forget();
      count();
      line.tabIndex = -1;
      line.focus({ preventScroll: true });
    };
    const count = () => {
      const next = tally(predictions, forget);
      line.replaceWith(next);
      line = next;
    };
    for (const group of groups) predictions.push(new Prediction(group, count));
    place?.after(line);
    count();
  }

  return { start };
});

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", badnets.use("predictions").start);
else badnets.use("predictions").start();
