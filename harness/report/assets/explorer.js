/* The Pareto explorer: controls choose cells, a brush lists some of them, a budget names the best. */

const LISTED = [
  ["experiment", "", "The experiment that has the cell."],
  ["variant", "", "How the cell trains."],
  ["kind", "", "The kind of schedule."],
  ["step", "", "How the step ends."],
  ["micro_batch", "", "Most rows of a part of the batch."],
  ["peak_mib", "MiB", "Peak of the step, measured by memray."],
  ["work_ratio", "", "Work of the step over store-all's."],
  ["time_ratio", "", "Time of the step over store-all's."],
  ["memray_peak_bytes", "byte", "Peak of the step, measured by memray."],
  ["predicted_peak_bytes", "byte", "Peak of the step, predicted by a dry run."],
  ["forward_steps", "", "Layers run forward in the step, recomputed ones included."],
  ["peak_cached_layers", "", "Most activations that the schedule held at once."],
  ["cell_id", "", "Identifies the cell."],
];
const ALL = "all";
/* Pixels from the red line at which a pointer takes hold of it. */
const REACH = 9;

class Explorer {
  constructor(data) {
    this.data = data;
    this.form = document.getElementById("explorer-controls");
    this.place = document.getElementById("explorer-chart");
    this.best = document.getElementById("explorer-best");
    const networks = distinct(data.cells.map((cell) => cell.layers));
    const most = (layers) => data.cells.filter((cell) => cell.layers === layers).length;
    options(this.form.layers, networks.map((layers) => [layers, data.chains[layers] === layers ? layers : `${layers}: ${data.chains[layers]}`]), networks.reduce((a, b) => (most(b) > most(a) ? b : a)));
    options(this.form.cost, [["work_ratio", "work"], ["time_ratio", "time"]], "work_ratio");
    this.table = new DataTable(document.getElementById("explorer-table"), "cells", this.columns([]));
    this.form.addEventListener("input", (event) => {
      if (event.target.name === "budget") this.moveBudget(Number(event.target.value));
      else this.redraw(event.target.name);
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  columns(cells) {
    return LISTED.map(([name, unit, about]) => {
      const values = cells.map((cell) => cell[name] ?? null);
      return { name, unit, about, numeric: values.some((value) => typeof value === "number"), values };
    });
  }

  /** What the controls leave, the schedules that can be chosen among it, and the batches and steps there are. */
  async redraw(changed) {
    const { form } = this;
    const ofNetwork = this.data.cells.filter((cell) => cell.layers === form.layers.value);
    if (!changed || changed === "layers") {
      const batches = distinct(ofNetwork.map((cell) => cell.batch)).sort((a, b) => a - b);
      options(form.batch, batches.map((batch) => [batch, count(batch)]), form.batch.value || batches.at(-1));
      const steps = distinct(ofNetwork.map((cell) => cell.step));
      options(form.step, [...steps.map((step) => [step, step]), [ALL, ALL]], form.step.value);
    }
    const chosen = ofNetwork.filter((cell) => String(cell.batch) === form.batch.value && [ALL, cell.step].includes(form.step.value));
    if (changed !== "kind") this.offerKinds(distinct(chosen.map((cell) => cell.kind)));
    const kinds = new Set([...form.querySelectorAll("[name=kind]:checked")].map((box) => box.value));
    const cost = form.cost.value;
    this.cells = chosen.filter((cell) => kinds.has(cell.kind) && cell[cost] !== undefined);
    await this.drawChart(cost);
    this.list();
  }

  offerKinds(kinds) {
    const names = this.data.kinds.filter((kind) => kinds.includes(kind));
    this.form.querySelector(".kinds").replaceChildren(...names.map((kind) => element("label", {},
      element("input", { type: "checkbox", name: "kind", value: kind, checked: true }),
      drawnMark(this.data.kinds.indexOf(kind), this.data.kinds.indexOf(kind)), kind)));
  }

  async drawChart(cost) {
    const { form } = this;
    const same = (row) => row.layers === form.layers.value && String(row.batch) === form.batch.value;
    const peaks = this.cells.map((cell) => cell.peak_mib);
    const [low, high] = [Math.min(...peaks), Math.max(...peaks)];
    const budget = form.budget;
    const asked = Number(budget.value);
    Object.assign(budget, { min: 0.9 * low, max: high });
    this.budget = this.cells.length && asked >= low && asked <= high && this.moved ? asked : (low + high) / 2;
    budget.value = this.budget;
    this.brushed = null;
    const words = `Points of ${this.cells.length} cells of [${form.layers.value}] at batch ${form.batch.value}: peak against ${form.cost.selectedOptions[0].text}. The table below lists them.`;
    this.view = await draw(this.place, this.data.charts[cost], words,
      { cells: this.cells, optimum: this.data.optimum.filter(same), best: this.cells.slice(0, 1) });
    this.view.addSignalListener("brush", (name, area) => { this.brushed = area; this.list(); });
    this.dragBudget();
    this.moveBudget(this.budget);
  }

  /** The red line follows the pointer that has taken hold of it. The chart beneath sees nothing of that, or it would brush. */
  dragBudget() {
    this.unhand?.abort();
    this.unhand = new AbortController();
    const { signal } = this.unhand;
    const { view, place } = this;
    const height = (event) => event.clientY - place.querySelector("svg").getBoundingClientRect().top - view.origin()[1];
    const isNear = (event) => Math.abs(height(event) - view.scale("y")(this.budget)) <= REACH;
    let held = false;
    place.addEventListener("pointerdown", (event) => {
      if (!isNear(event)) return;
      held = true;
      event.stopPropagation();
      event.preventDefault();
    }, { capture: true, signal });
    place.addEventListener("pointermove", (event) => { place.style.cursor = held || isNear(event) ? "ns-resize" : ""; }, { signal });
    window.addEventListener("pointermove", (event) => {
      if (!held) return;
      const { min, max } = this.form.budget;
      this.moveBudget(Math.min(Number(max), Math.max(Number(min), view.scale("y").invert(height(event)))));
    }, { signal });
    window.addEventListener("pointerup", () => { held = false; }, { signal });
  }

  moveBudget(budget) {
    this.budget = budget;
    this.moved = true;
    this.form.budget.value = budget;
    this.form.budget.setAttribute("aria-valuetext", `${budget.toFixed(2)} MiB`);
    const cost = this.form.cost.value;
    const fitting = this.cells.filter((cell) => cell.peak_mib <= budget);
    const best = fitting.reduce((one, other) => (one && (one[cost] < other[cost] || (one[cost] === other[cost] && one.peak_mib <= other.peak_mib)) ? one : other), null);
    const word = cost === "work_ratio" ? "work" : "time";
    this.best.textContent = best
      ? `Within ${budget.toFixed(2)} MiB the best is ${best.variant}: ${best[cost].toFixed(3)} times store-all's ${word}, peak ${best.peak_mib.toFixed(2)} MiB (${fitting.length} of ${this.cells.length} cells fit).`
      : `Within ${budget.toFixed(2)} MiB none of these ${this.cells.length} cells fits.`;
    this.view.signal("budget", budget).data("best", best ? [best] : []).runAsync();
  }

  /** The cells that are brushed, or all, in the table below. */
  list() {
    const area = this.brushed;
    const cost = this.form.cost.value;
    const within = (value, ends) => value >= Math.min(...ends) && value <= Math.max(...ends);
    const cells = area?.peak_mib ? this.cells.filter((cell) => within(cell[cost], area[cost]) && within(cell.peak_mib, area.peak_mib)) : this.cells;
    this.table.show(this.columns([...cells].sort((one, other) => one[cost] - other[cost])));
  }
}
