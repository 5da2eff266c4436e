/* What all parts of the page share: the data, elements, numbers, colours and charts. */

const MIB = 2 ** 20;

/** The page's data: JSON, deflated and in base64. */
async function readData() {
  const text = document.getElementById("data").textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

/** An element with attributes and children; a text is a child, too. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => element("option", { value }, text)));
  if (values.some(([value]) => String(value) === String(chosen))) select.value = chosen;
}

const distinct = (values) => [...new Set(values)];
const mib = (bytes) => `${(bytes / MIB).toFixed(2)} MiB`;
const count = (number) => number.toLocaleString("en");

/* Okabe and Ito's colours, which the colour-blind tell apart; darker on white, lighter on black. */
const COLOURS = {
  light: ["#0072b2", "#c25500", "#00805a", "#a8467f", "#555555", "#8a6d00", "#3b8fc4", "#7a3fb0", "#b3261e", "#2f6b2f", "#1b1f24"],
  dark: ["#6cb8f0", "#ff9b4a", "#3fcf9f", "#f08fc4", "#b8b8b8", "#e8cf4a", "#a6d8ff", "#c6a1ff", "#ff8a80", "#9bd48a", "#f2f4f7"],
};

const theme = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

function config() {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const words = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
  return {
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { ...words, gridColor: line, gridOpacity: 0.5, domainColor: line, tickColor: line },
    range: { category: COLOURS[theme()] },
    style: { "guide-label": { fill: ink } },
  };
}

/* Vega's named shapes as paths of an SVG; other shapes are paths themselves. */
const PATHS = {
  circle: "M0,-1A1,1,0,1,1,-.01,-1Z", square: "M-.85,-.85H.85V.85H-.85Z", diamond: "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",
  cross: "M-1,-.35H-.35V-1H.35V-.35H1V.35H.35V1H-.35V.35H-1Z", "triangle-up": "M0,-1L1,.8H-1Z", "triangle-down": "M0,1L1,-.8H-1Z",
  "triangle-right": "M1,0L-.8,1V-1Z", "triangle-left": "M-1,0L.8,1V-1Z",
};

/** A small drawing of a path, which need not be told: its name stands beside it. */
function drawnPath(path, colour) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  const inside = document.createElementNS(space, "path");
  for (const [name, value] of [["viewBox", "-1.3 -1.3 2.6 2.6"], ["aria-hidden", "true"]]) drawing.setAttribute(name, value);
  for (const [name, value] of [["d", path], ["fill", colour]]) inside.setAttribute(name, value);
  drawing.append(inside);
  return drawing;
}

/** The mark at this place of the charts' shapes, in the colour at that; either may be left out. */
function drawnMark(shape, colour) {
  const { shapes } = drawnMark;
  const path = shape === null ? "square" : shapes[shape % shapes.length];
  const colours = COLOURS[theme()];
  return drawnPath(PATHS[path] ?? path, colour === null ? "currentColor" : colours[colour % colours.length]);
}

/** What colours and shapes stand for, one list where both stand for the same. */
function showKey(place, key) {
  const { colour = [], shape = [] } = key;
  const same = colour.join() === shape.join();
  place.replaceChildren(
    ...colour.map((name, at) => element("li", {}, drawnMark(same ? at : null, at), name)),
    ...(same ? [] : shape.map((name, at) => element("li", {}, drawnMark(at, null), name))));
}

/** Draw a chart into the element; `datasets` are the rows of its named data. */
async function draw(place, spec, words, datasets = {}) {
  const { view } = await vegaEmbed(place, { ...spec, description: words }, {
    mode: "vega-lite", renderer: "svg", actions: false, config: config(), tooltip: { theme: "custom" }, logLevel: 1,
    patch: (compiled) => {
      for (const data of compiled.data) if (data.name in datasets) data.values = datasets[data.name];
      return compiled;
    },
  });
  const drawing = place.querySelector("svg");
  drawing?.setAttribute("role", "img");
  drawing?.setAttribute("aria-label", words);
  return view;
}

/** The last of many calls, once a frame. */
function onceAFrame(run) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; run(); });
  };
}
