// Tables that can be sorted by any column and filtered by some, <bn-table>, from plain HTML: see `tables.sortable` in
// badnets_lib. Heads become buttons; a chosen value hides the other rows. Without this script the table is complete.
"use strict";

badnets.define("tables", ["toolkit"], ({ make, button, choice, register }) => {
  const NEXT = { none: "ascending", ascending: "descending", descending: "ascending" };

  const textOf = (row, column) => row.cells[column].textContent.trim();

  /** What a cell is sorted by: a number if it has one, else its text; null sorts last. */
  function key(row, column) {
    const { sort } = row.cells[column].dataset;
    if (sort === undefined) return textOf(row, column).toLowerCase();
    return sort === "" ? null : Number(sort);
  }

  /** Rows in a new order; equal rows keep theirs, empty ones stay last both ways. */
  function sorted(rows, column, direction) {
    const sign = direction === "ascending" ? 1 : -1;
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    const pairs = rows.map((row) => [key(row, column), row]);
    const last = pairs.filter(([value]) => value === null);
    const first = pairs.filter(([value]) => value !== null).sort(([a], [b]) => sign * order(a, b));
    return [...first, ...last].map(([, row]) => row);
  }

  class SortableTable extends HTMLElement {
    connectedCallback() {
      const table = this.querySelector("table");
      if (this.rows || !table?.tHead || !table.tBodies.length) return;
      this.body = table.tBodies[0];
      this.rows = [...this.body.rows];
      this.heads = [...table.tHead.rows[0].cells];
      /** @type {Map<number, string>} */
      this.chosen = new Map(); // column -> the text that its rows must have
      this.heads.forEach((head, column) => this.makeSortable(head, column));
      this.message = make("p", { className: "said", role: "status" });
      const filtered = [...this.heads.keys()].filter((column) => "filter" in this.heads[column].dataset);
      this.prepend(
        make("div", { className: "filters" }, ...filtered.map((column) => this.filter(column)), this.message),
      );
      this.show();
    }

    makeSortable(head, column) {
      head.setAttribute("aria-sort", "none");
      const text = [...head.childNodes];
      const sort = button("", () => {
        const direction = NEXT[head.getAttribute("aria-sort")];
        for (const other of this.heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", direction);
        this.rows = sorted(this.rows, column, direction);
        this.body.append(...this.rows);
      });
      sort.replaceChildren(...text);
      head.append(sort);
    }

    filter(column) {
      const texts = [...new Set(this.rows.map((row) => textOf(row, column)))];
      const options = [["", "all"], ...texts.map((text) => [text, text])];
      const select = choice(options, "", () => {
        this.chosen.set(column, select.value);
        this.show();
      });
      return make("label", {}, `${this.heads[column].textContent.trim()} `, select);
    }

    show() {
      const wanted = [...this.chosen].filter(([, text]) => text);
      for (const row of this.rows) row.hidden = wanted.some(([column, text]) => textOf(row, column) !== text);
      const seen = this.rows.filter((row) => !row.hidden).length;
      this.message.textContent = `${seen} of ${this.rows.length} rows`;
    }
  }

  register("bn-table", SortableTable);
  return {};
});

badnets.use("tables");
