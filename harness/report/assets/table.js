/* A table that sorts, filters and downloads: columns of values in, a page of rows shown. */

const ROWS = 25;

/** Whether a value passes what was typed into its column's field. */
function passes(value, typed, numeric) {
  const text = typed.trim();
  if (text === "") return true;
  if (value === null || value === undefined) return false;
  if (numeric) {
    const range = text.match(/^(-?[\d.e+-]+)\.\.(-?[\d.e+-]+)$/);
    if (range) return value >= Number(range[1]) && value <= Number(range[2]);
    const compared = text.match(/^(<=|>=|<|>|=)\s*(-?[\d.e+-]+)$/);
    if (compared) {
      const other = Number(compared[2]);
      return { "<": value < other, ">": value > other, "<=": value <= other, ">=": value >= other, "=": value === other }[compared[1]];
    }
  }
  return String(value).toLowerCase().includes(text.toLowerCase());
}

function asCsv(columns, rows) {
  const field = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map((column) => column.name), ...rows.map((row) => columns.map((column) => column.values[row]))];
  return lines.map((line) => line.map(field).join(",")).join("\n") + "\n";
}

class DataTable {
  /** `columns` have name, unit, about, numeric and values; `name` is that of the downloaded file. */
  constructor(place, name, columns) {
    Object.assign(this, { place, name, sorted: null, falling: false, page: 0 });
    this.build(columns);
  }

  build(columns) {
    this.columns = columns;
    this.fields = columns.map((column) => element("input", {
      type: "search", "aria-label": `filter ${column.name}`, placeholder: "filter", oninput: () => { this.page = 0; this.update(); },
    }));
    this.headings = columns.map((column, place) => element("th", { scope: "col", "aria-sort": "none", title: column.about },
      element("button", { type: "button", onclick: () => this.sort(place) }, column.name),
      element("small", {}, column.unit || "\u00a0"), this.fields[place]));
    this.body = element("tbody");
    this.said = element("span", { role: "status" });
    this.back = element("button", { type: "button", onclick: () => this.turn(-1) }, "Previous rows");
    this.forth = element("button", { type: "button", onclick: () => this.turn(1) }, "Next rows");
    const download = element("button", { type: "button", onclick: () => this.download() }, "Download CSV");
    this.place.classList.add("table");
    this.place.replaceChildren(
      element("div", { class: "tools" }, this.said, this.back, this.forth, download),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `rows of ${this.name}` },
        element("table", { class: "data" }, element("thead", {}, element("tr", {}, ...this.headings)), this.body)));
    this.update();
  }

  /** Show other rows of the same columns; what was typed and sorted stays. */
  show(columns) {
    this.columns = columns;
    this.page = 0;
    this.update();
  }

  sort(place) {
    this.falling = this.sorted === place && !this.falling;
    this.sorted = place;
    this.page = 0;
    this.headings.forEach((heading, other) =>
      heading.setAttribute("aria-sort", other !== place ? "none" : this.falling ? "descending" : "ascending"));
    this.update();
  }

  turn(pages) {
    this.page += pages;
    this.update();
  }

  /** The places of the rows that pass all filters, sorted; what is missing comes last. */
  rows() {
    const size = this.columns[0]?.values.length ?? 0;
    const typed = this.fields.map((field) => field.value);
    const kept = [];
    for (let row = 0; row < size; row++)
      if (this.columns.every((column, place) => passes(column.values[row], typed[place], column.numeric))) kept.push(row);
    if (this.sorted === null) return kept;
    const { values } = this.columns[this.sorted];
    const sign = this.falling ? -1 : 1;
    const missing = (value) => value === null || value === undefined;
    return kept.sort((one, other) => {
      const [a, b] = [values[one], values[other]];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
  }

  update() {
    const rows = this.rows();
    const size = this.columns[0]?.values.length ?? 0;
    const first = this.page * ROWS;
    const shown = rows.slice(first, first + ROWS);
    this.said.textContent = shown.length
      ? `rows ${count(first + 1)} to ${count(first + shown.length)} of ${count(rows.length)}${rows.length < size ? `, filtered from ${count(size)}` : ""}`
      : `no rows of ${count(size)}`;
    this.back.disabled = this.page === 0;
    this.forth.disabled = first + ROWS >= rows.length;
    this.body.replaceChildren(...shown.map((row) => element("tr", {}, ...this.columns.map((column) => {
      const value = column.values[row] ?? "";
      return element("td", column.numeric ? { class: "numeric" } : {}, typeof value === "number" ? tableNumber(value) : value);
    }))));
  }

  download() {
    const url = URL.createObjectURL(new Blob([asCsv(this.columns, this.rows())], { type: "text/csv" }));
    element("a", { href: url, download: `${this.name}.csv` }).click();
    URL.revokeObjectURL(url);
  }
}

const tableNumber = (value) => (Number.isInteger(value) ? value.toLocaleString("en", { useGrouping: Math.abs(value) >= 10000 }) : String(Number(value.toPrecision(6))));
