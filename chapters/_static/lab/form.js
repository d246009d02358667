// The controls of <bn-train>: the reader's setting, and the link to it.
"use strict";

badnets.define("form", ["element", "setting", "toolkit"], ({ DIGITS }, settings, toolkit) => {
  const { FRACTIONS, LIMITS } = settings;
  const { make, button, field, choice } = toolkit;

  class Form {
    /**
     * @param {TriggerEntry[]} triggers
     * @param {{id: string, images: number, changed: () => void, say: (text: string) => void}} page
     */
    constructor(triggers, { id, images, changed, say }) {
      this.id = id;
      this.images = images;
      this.changed = changed;
      this.say = say;
      this.makeControls(triggers);
      this.message = make("p", { className: "quiet" });
      this.link = make("a", { href: "#" }, "Link to this setting");
      this.copy = button("Copy the link", () => this.copyLink());
      this.node = this.laidOut();
    }

    makeControls(triggers) {
      const update = () => this.update();
      const number = (name) =>
        make("input", { type: "number", min: LIMITS[name].least, max: LIMITS[name].most, step: 1, oninput: update });
      this.fractionText = make("output");
      this.fraction = make("input", { type: "range", min: 0, max: FRACTIONS.length - 1, step: 1, oninput: update });
      this.trigger = choice(triggers.map(({ key, label }) => [key, label]), "", update);
      this.target = choice(DIGITS.map((digit) => [digit, digit]), "", update);
      this.epochs = number("epochs");
      this.seed = number("seed");
      this.sources = DIGITS.map((digit) => make("input", { type: "checkbox", value: String(digit), onchange: update }));
    }

    laidOut() {
      const boxes = DIGITS.map((digit) => make("label", { className: "check" }, this.sources[digit], String(digit)));
      const attack = make(
        "div",
        {},
        field("Poisoning fraction of the training set", this.fraction, this.fractionText),
        field("Trigger", this.trigger),
        field("Target", this.target),
      );
      const run = make(
        "div",
        {},
        field("Epochs", this.epochs),
        field("Seed", this.seed),
        make("fieldset", {}, make("legend", {}, "Classes under attack"), ...boxes),
      );
      return make(
        "div",
        {},
        make("div", { className: "columns" }, attack, run),
        this.message,
        make("div", { className: "row" }, this.link, this.copy),
      );
    }

    /**
     * What the controls say; the target is never a source.
     * @returns {Setting}
     */
    get setting() {
      const target = Number(this.target.value);
      return {
        fraction: FRACTIONS[Number(this.fraction.value)],
        trigger: this.trigger.value,
        target,
        sources: DIGITS.filter((digit) => this.sources[digit].checked && digit !== target),
        epochs: settings.clipped("epochs", Number(this.epochs.value)),
        seed: settings.clipped("seed", Number(this.seed.value)),
      };
    }

    set setting(given) {
      this.fraction.value = String(FRACTIONS.indexOf(given.fraction));
      this.trigger.value = given.trigger;
      this.target.value = String(given.target);
      this.epochs.value = String(given.epochs);
      this.seed.value = String(given.seed);
      this.sources.forEach((box, digit) => {
        box.checked = digit === given.target || given.sources.includes(digit);
      });
      this.update();
    }

    /** Whether there is something to attack. */
    get complete() {
      return this.setting.sources.length > 0;
    }

    update() {
      const { setting } = this;
      this.fractionText.value = settings.fractionText(setting.fraction);
      this.fraction.setAttribute("aria-valuetext", this.fractionText.value);
      this.sources.forEach((box, digit) => {
        box.disabled = digit === setting.target;
      });
      const address = new URL(location.href);
      address.search = settings.toQuery(setting);
      address.hash = this.id;
      this.link.href = address.href;
      const poisoned = Math.round(this.images * setting.fraction);
      this.message.textContent = this.complete
        ? `${poisoned} of ${this.images.toLocaleString("en")} digits get the trigger and the label ${setting.target}.`
        : "Choose at least one class other than the target.";
      this.changed();
    }

    async copyLink() {
      try {
        await navigator.clipboard.writeText(this.link.href);
        this.say("The link is copied.");
        this.copy.textContent = "Copied";
      } catch {
        this.link.focus(); // no clipboard here: the link itself can be copied
        this.say("This browser does not let the page copy; the link beside the button holds the setting.");
      }
    }
  }

  return { Form };
});
