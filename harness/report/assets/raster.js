/* The cache, event by event: a step's spans as a raster of layers over events, and as bytes by kind. */

/* Half the height of a state's bar, in layers: colour never tells a state alone. */
const HALF = { kept: 0.5, working: 0.32, recomputed: 0.18, "output gradients": 0.42 };
const STATE_COLOURS = {
  light: { kept: "#00805a", working: "#6cb8f0", recomputed: "#0a4f8f", "output gradients": "#c25500", "weight gradients": "#a8467f", "scratch memory": "#8b949e" },
  dark: { kept: "#3fcf9f", working: "#2f81c4", recomputed: "#a6d8ff", "output gradients": "#ff9b4a", "weight gradients": "#f08fc4", "scratch memory": "#7d8590" },
};
const STACKED = ["scratch memory", "weight gradients", "output gradients", "kept", "working", "recomputed"];

class Raster {
  constructor(data) {
    this.data = data;
    this.form = document.getElementById("raster-controls");
    this.now = document.getElementById("raster-now");
    const { networks } = data;
    const measured = networks.findIndex((network) => network.steps.some((step) => step.memray));
    options(this.form.network, networks.map((network, place) => [place, network.label]), Math.max(0, measured));
    this.form.addEventListener("input", (event) => {
      if (event.target.name === "event") this.move(Number(event.target.value));
      else this.redraw(event.target.name);
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.placed = onceAFrame(() => this.place());
  }

  async redraw(changed) {
    const { form } = this;
    const network = this.data.networks[form.network.value];
    if (changed !== "step") {
      const first = network.steps.findIndex((step) => step.memray && step.kind !== "store-all");
      const name = (step) => (step.step === "backward" || step.name.includes("train step") ? step.name : `${step.name}, ${step.step}`);
      options(form.step, network.steps.map((step, place) => [place, name(step)]), Math.max(first, Math.min(1, network.steps.length - 1)));
    }
    this.step = network.steps[form.step.value];
    this.read(network, this.step);
    await this.drawCharts(network);
    form.event.max = this.step.events - 1;
    this.move(changed ? Math.min(this.event, this.step.events - 1) : this.live.indexOf(Math.max(...this.live)));
  }

  /** The spans as objects, and from them what is live after each event: by kind, and in all. */
  read(network, step) {
    const { states } = this.data;
    this.spans = [];
    const changes = Object.fromEntries(states.map((state) => [state, new Float64Array(step.events + 1)]));
    for (let at = 0; at < step.spans.length; at += 4) {
      const [layer, place, start, stop] = step.spans.slice(at, at + 4);
      const state = states[place];
      const bytes = (state === "weight gradients" ? network.parameter_delta_bytes : network.bytes)[layer];
      changes[state][start] += bytes;
      changes[state][stop] -= bytes;
      const half = HALF[state];
      this.spans.push({ layer, state, start, stop, bytes, low: layer - half, high: layer + half });
    }
    this.byKind = Object.fromEntries(states.map((state) => {
      let sum = 0;
      return [state, Array.from(changes[state].slice(0, step.events), (change) => (sum += change))];
    }));
    this.live = Array.from({ length: step.events }, (_, event) => states.reduce((sum, state) => sum + this.byKind[state][event], 0));
  }

  async drawCharts(network) {
    const { step } = this;
    const colours = STATE_COLOURS[theme()];
    const x = { field: "event", type: "quantitative", scale: { domain: [0, step.events], nice: false }, axis: { title: null, tickMinStep: 1 } };
    const axis = { minExtent: 58, maxExtent: 58, titlePadding: 4 };
    const soft = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
    const cursor = [
      { data: { values: [{ event: step.backward }] }, mark: { type: "rule", strokeDash: [2, 3], color: soft }, encoding: { x: { field: "event", type: "quantitative" } } },
      { data: { values: [{}] }, transform: [{ calculate: "cursor", as: "event" }], name: "cursor", mark: { type: "rule", strokeWidth: 2, color: "#d1495b" }, encoding: { x: { field: "event", type: "quantitative" } } },
    ];
    const common = { width: "container", params: [{ name: "cursor", value: 0 }] };
    const rows = this.spans.filter((span) => span.state in HALF);
    const layers = {
      ...common, height: Math.min(520, Math.max(200, 9 * network.depth)),
      layer: [{
        data: { values: rows }, name: "spans", mark: { type: "rect", tooltip: { content: "data" } },
        encoding: {
          x: { ...x, field: "start" }, x2: { field: "stop" },
          y: { field: "low", type: "quantitative", scale: { domain: [0.4, network.depth + 0.6], nice: false, zero: false }, axis: { ...axis, title: "layer", tickMinStep: 1 } },
          y2: { field: "high" },
          fill: { field: "state", type: "nominal", legend: null, scale: { domain: Object.keys(HALF), range: Object.keys(HALF).map((state) => colours[state]) } },
          opacity: { condition: { test: "datum.start <= cursor", value: 1 }, value: 0.22 },
        },
      }, ...cursor],
    };
    const shares = [];
    STACKED.forEach((state, order) => this.byKind[state].forEach((bytes, event) => shares.push({ event, state, order, mib: bytes / MIB })));
    const memray = (step.memray ?? []).map((bytes, event) => ({ event, mib: bytes / MIB }));
    const tracker = this.live.map((bytes, event) => ({ event, mib: bytes / MIB }));
    const line = (name, values, look) => ({ data: { values }, name, mark: { type: "line", interpolate: "step-after", ...look }, encoding: { x: { ...x, axis: { ...x.axis, title: "event" } }, y: { field: "mib", type: "quantitative" } } });
    const bytes = {
      ...common, height: 200,
      layer: [{
        data: { values: shares }, mark: { type: "area", interpolate: "step-after", opacity: 0.85 },
        encoding: {
          x: { ...x, axis: { ...x.axis, title: "event" } },
          y: { field: "mib", type: "quantitative", stack: "zero", axis: { ...axis, title: "live (MiB)" } },
          fill: { field: "state", type: "nominal", legend: null, scale: { domain: STACKED, range: STACKED.map((state) => colours[state]) } },
          order: { field: "order" },
        },
      },
      ...(memray.length ? [line("memray", memray, { color: colours["output gradients"], strokeWidth: 5, opacity: 0.55 })] : []),
      line("tracker", tracker, { color: theme() === "dark" ? "#ffffff" : "#000000", strokeWidth: 1 }),
      ...cursor],
    };
    const name = `[${network.label}] by ${this.form.step.selectedOptions[0].text}`;
    this.views = await Promise.all([
      draw(document.getElementById("raster-layers"), layers, `Layer against event of one step of ${name}: ${step.events} events, ${step.forward_steps} layers run forward.`),
      draw(document.getElementById("raster-bytes"), bytes, `Live bytes against event of one step of ${name}: the peak is ${mib(step.peak_bytes)}.`),
    ]);
    this.views.forEach((view) => view.addEventListener("pointermove", (event) => {
      const box = view.container().querySelector("svg").getBoundingClientRect();
      this.move(Math.round(view.scale("x").invert(event.clientX - box.left - view.origin()[0])));
    }));
    const used = STACKED.filter((state) => this.byKind[state].some((bytes) => bytes > 0));
    document.getElementById("raster-key").replaceChildren(...used.map((state) => element("li", {}, swatch(state, colours[state]), state)),
      element("li", {}, `black line: the tracker${memray.length ? "; broad line: memray" : ""}; dotted: the backward pass begins`));
    document.getElementById("raster-caption").textContent =
      `${step.forward_steps} layers are run forward in a network of ${network.depth}; the peak is ${mib(step.peak_bytes)}. Everything after the red cursor is pale.`;
  }

  /** Move the cursor; what it says follows. */
  move(event) {
    this.event = Math.min(this.step.events - 1, Math.max(0, event));
    this.placed();
  }

  place() {
    const { event, step } = this;
    this.form.event.value = event;
    const kinds = STACKED.filter((state) => this.byKind[state][event] > 0).map((state) => `${state} ${mib(this.byKind[state][event])}`);
    const begins = this.spans.filter((span) => span.start === event && span.layer).map((span) => `layer ${span.layer} ${span.state}`);
    this.now.textContent = `Event ${count(event)} of ${count(step.events - 1)}, ${event < step.backward ? "forward" : "backward"} pass`
      + `${begins.length ? ` (${begins.join(", ")})` : ""}: live ${mib(this.live[event])}${kinds.length ? `: ${kinds.join(", ")}` : ""}.`;
    this.form.event.setAttribute("aria-valuetext", this.now.textContent);
    this.views.forEach((view) => view.signal("cursor", event).runAsync());
  }
}

/** A bar of the height and the colour that a state has. */
function swatch(state, colour) {
  const half = HALF[state] ?? 0.5;
  return drawnPath(`M-1,${-2 * half}H1V${2 * half}H-1Z`, colour);
}
