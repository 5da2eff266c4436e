/* The page: its parts in order, and all of them anew when the theme changes. */

function showTables(tables) {
  const place = document.getElementById("all-tables");
  place.replaceChildren(...tables.map((table) => {
    const inside = element("div");
    const details = element("details", { ontoggle: () => {
      if (details.open && !inside.hasChildNodes()) new DataTable(inside, `${table.experiment}-${table.name}`, table.columns);
    } }, element("summary", {}, `${table.experiment} / ${table.name}: ${count(table.rows)} rows. ${table.about}`), inside);
    return details;
  }));
}

async function drawAll(data, parts) {
  await Promise.all([
    ...parts.map((part) => part.redraw()),
    ...[...document.querySelectorAll("[data-chart]")].map((place) => {
      const { spec, key } = data.charts[place.dataset.chart];
      showKey(place.closest(".chart").querySelector(".key"), key);
      return draw(place, spec, place.dataset.words);
    }),
  ]);
  document.documentElement.dataset.drawn = theme();
  performance.mark("drawn");
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const wear = (name) => {
    document.documentElement.dataset.theme = name;
    button.setAttribute("aria-pressed", String(name === "dark"));
  };
  wear(dark.matches ? "dark" : "light");
  const data = await readData();
  drawnMark.shapes = data.shapes;
  const parts = [];
  if (data.explorer.cells) parts.push(new Explorer(data.explorer));
  else document.getElementById("explorer").hidden = true;
  if (data.raster.networks.length) parts.push(new Raster(data.raster));
  else document.getElementById("raster").hidden = true;
  showTables(data.tables);
  button.addEventListener("click", () => { wear(theme() === "dark" ? "light" : "dark"); drawAll(data, parts); });
  dark.addEventListener("change", () => { wear(dark.matches ? "dark" : "light"); drawAll(data, parts); });
  await drawAll(data, parts);
}

start();
