// Tables that can be sorted by any column and filtered by some, from plain HTML: see badnets_lib/tables.py.
// Heads become buttons; a chosen value hides the other rows. Without this script the table is complete.
"use strict";

(() => {
  const NEXT = { none: "ascending", ascending: "descending", descending: "ascending" };

  /** What a cell is sorted by: a number if it has one, else its text; null sorts last. */
  function key(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.sort === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
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

  function made(name, settings, ...inside) {
    const node = Object.assign(document.createElement(name), settings);
    node.append(...inside);
    return node;
  }

  class SortableTable extends HTMLElement {
    connectedCallback() {
      if (this.ready) return;
      const table = this.querySelector("table");
      if (!table?.tHead || !table.tBodies.length) return;
      this.ready = true;
      this.heads = [...table.tHead.rows[0].cells];
      this.body = table.tBodies[0];
      this.rows = [...this.body.rows];
      this.chosen = new Map();
      this.heads.forEach((head, column) => this.makeSortable(head, column));
      this.said = made("p", { className: "said" });
      this.said.setAttribute("role", "status");
      const filters = this.heads.flatMap((head, column) => ("filter" in head.dataset ? [this.filter(head, column)] : []));
      this.prepend(made("div", { className: "filters" }, ...filters, this.said));
      this.show();
    }

    makeSortable(head, column) {
      head.setAttribute("aria-sort", "none");
      const button = made("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => {
        const direction = NEXT[head.getAttribute("aria-sort")];
        for (const other of this.heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", direction);
        this.rows = sorted(this.rows, column, direction);
        this.body.append(...this.rows);
      });
      head.append(button);
    }

    filter(head, column) {
      const texts = [...new Set(this.rows.map((row) => row.cells[column].textContent.trim()))];
      const options = texts.map((text) => made("option", { value: text, textContent: text }));
      const select = made("select", {}, made("option", { value: "", textContent: "all" }), ...options);
      select.addEventListener("change", () => {
        this.chosen.set(column, select.value);
        this.show();
      });
      return made("label", {}, `${head.textContent.trim()} `, select);
    }

    show() {
      const wanted = [...this.chosen].filter(([, text]) => text);
      for (const row of this.rows) row.hidden = wanted.some(([column, text]) => row.cells[column].textContent.trim() !== text);
      const seen = this.rows.filter((row) => !row.hidden).length;
      this.said.textContent = `${seen} of ${this.rows.length} rows`;
    }
  }

  customElements.define("bn-table", SortableTable);
})();
