"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);

// Colours: what the system asks for, until the button is pressed.
const root = document.documentElement;
const theme = element("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
function nameTheme() {
  theme.textContent = isDark() ? "Light colours" : "Dark colours";
}
theme.hidden = false;
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
systemDark.addEventListener("change", nameTheme);
nameTheme();

// A link to a stamp opens it.
function reveal() {
  const target = element(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest("details");
  if (!folded) return;
  folded.open = true;
  target.focus({ preventScroll: true });
  folded.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

// Players: the slider moves the tall picture behind its window.
for (const slider of document.querySelectorAll("input[data-player]")) {
  const player = slider.closest("figure");
  const stages = player.querySelectorAll(".stage");
  const output = player.querySelector("output");
  const show = () => {
    const text = data.texts[slider.id][slider.value];
    for (const stage of stages) stage.style.setProperty("--at", slider.value);
    output.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  slider.addEventListener("input", show);
  show();
}

// Scatter: one point per video, two models of one task.
const svgNS = "http://www.w3.org/2000/svg";
function draw(name, attributes, text) {
  const made = document.createElementNS(svgNS, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  element("points").append(made);
  return made;
}
function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name, place) => new Option(name, place, false, place === chosen)));
}
function niceTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(tick);
  return ticks;
}
const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

function difference(task, a, b) {
  const names = `${task.models[a]} less ${task.models[b]}`;
  if (a === b) return "A and B are the same model: every point lies on the diagonal.";
  const pair = task.pairs.find((one) => (one.a === a && one.b === b) || (one.a === b && one.b === a));
  if (pair.problem) return `${names}: not compared: ${pair.problem}`;
  const sign = pair.a === a ? 1 : -1;
  const digits = task.digits + 1;
  let text = `${names}: ${signed(sign * pair.difference, digits)} ${task.unit} on ${pair.videos} videos`;
  if (pair.low === null) text += "; one video or scene: no interval and no test";
  else {
    const ends = [sign * pair.low, sign * pair.high].sort((x, y) => x - y);
    text += `, 95 % interval ${signed(ends[0], digits)} to ${signed(ends[1], digits)}, p = ${pair.p.toPrecision(2)}`;
    text += ` (paired bootstrap over ${pair.resampled} videos or scenes)`;
  }
  return [`${text}; ${task.better} is better.`, ...pair.notes.map((note) => `Note: ${note}.`)].join(" ");
}

function scatter(task, a, b) {
  const size = 360, left = 42, bottom = 36, top = 14;
  const points = task.videos
    .map((video, place) => ({ video, x: task.scores[a][place], y: task.scores[b][place] }))
    .filter((point) => point.x !== null && point.y !== null)
    .sort((p, q) => p.x - p.y - (q.x - q.y));
  element("difference").textContent = difference(task, a, b);
  element("points").replaceChildren();
  const all = points.flatMap((point) => [point.x, point.y]);
  let low = Math.min(...all), high = Math.max(...all);
  if (!points.length) [low, high] = [0, 1];
  const margin = (high - low || 1) * 0.08;
  [low, high] = [low - margin, high + margin];
  const scale = (size - left - top) / (high - low);
  const x = (value) => left + (value - low) * scale;
  const y = (value) => size - bottom - (value - low) * ((size - bottom - top) / (high - low));
  for (const tick of niceTicks(low, high)) {
    const label = String(+tick.toPrecision(6)).replace("-", "−");
    draw("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: size - bottom });
    draw("line", { class: "grid", x1: left, x2: size - top, y1: y(tick), y2: y(tick) });
    draw("text", { x: x(tick), y: size - bottom + 13, "text-anchor": "middle" }, label);
    draw("text", { x: left - 4, y: y(tick) + 4, "text-anchor": "end" }, label);
  }
  draw("line", { class: "diagonal", x1: x(low), y1: y(low), x2: x(high), y2: y(high) });
  draw("text", { x: (left + size) / 2, y: size - 6, "text-anchor": "middle" }, `A: ${task.models[a]}`);
  draw("text", { x: 11, y: (size - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 11 ${(size - bottom) / 2})` }, `B: ${task.models[b]}`);

  // Videos at one place are one mark, the larger the more there are.
  const places = new Map();
  points.forEach((point, order) => {
    const key = `${point.x} ${point.y}`;
    if (!places.has(key)) places.set(key, []);
    places.get(key).push(order);
  });
  const marks = [];
  for (const orders of places.values()) {
    const point = points[orders[0]];
    const radius = Math.min(18, 4 * Math.sqrt(orders.length));
    const mark = draw("circle", { cx: x(point.x), cy: y(point.y), r: radius });
    for (const order of orders) marks[order] = mark;
    mark.addEventListener("click", () => {
      const at = orders.indexOf(+slider.value);
      slider.value = orders[(at + 1) % orders.length];
      choose();
    });
  }
  const slider = element("video");
  const choose = () => {
    const point = points[slider.value];
    for (const mark of marks) mark.classList.remove("chosen");
    if (!point) return void (element("one").textContent = "no video of both models");
    const mark = marks[slider.value];
    mark.classList.add("chosen");
    mark.parentNode.append(mark);
    const digits = task.digits;
    const text = `${point.video}: A ${point.x.toFixed(digits)}, B ${point.y.toFixed(digits)}, A − B ${signed(point.x - point.y, digits)} ${task.unit}`;
    element("one").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  slider.max = Math.max(0, points.length - 1);
  slider.value = 0;
  slider.oninput = choose;
  choose();
  const rest = task.left_out ? ` Of so many videos ${task.left_out} are not drawn.` : "";
  element("points-name").textContent =
    `Scatter plot of ${points.length} videos: ${task.metric} of ${task.models[a]} to the right, of ${task.models[b]} upwards.${rest}`;
  tabulate(task, a, b, points);
}

function tabulate(task, a, b, points) {
  const table = element("numbers").querySelector("table");
  const row = (cells, tags, scope) => {
    const made = document.createElement("tr");
    cells.forEach((text, place) => {
      const cell = document.createElement(tags[place] || tags[1]);
      if (cell.tagName === "TH") cell.scope = scope;
      if (place === 0) cell.className = "name";
      cell.textContent = text;
      made.append(cell);
    });
    return made;
  };
  const rows = () =>
    points.map((point) =>
      row([point.video, point.x.toFixed(task.digits), point.y.toFixed(task.digits), signed(point.x - point.y, task.digits)], ["th", "td"], "row"));
  const heads = ["Video", `A: ${task.models[a]}`, `B: ${task.models[b]}`, "A − B"];
  table.caption.textContent = `${task.metric} (${task.unit}), from the largest lead of B to the largest of A`;
  table.tHead.replaceChildren(row(heads, ["th", "th"], "col"));
  table.tBodies[0].replaceChildren(...rows());
}

if (element("scatter")) {
  const [taskSelect, aSelect, bSelect] = ["task", "a", "b"].map((name) => element(`scatter-${name}`));
  const task = () => data.scatter[taskSelect.value];
  const redraw = () => scatter(task(), +aSelect.value, +bSelect.value);
  const refill = () => {
    const names = task().models;
    fill(aSelect, names, 0);
    fill(bSelect, names, Math.min(1, names.length - 1));
    redraw();
  };
  taskSelect.addEventListener("change", refill);
  aSelect.addEventListener("change", redraw);
  bSelect.addEventListener("change", redraw);
  document.querySelector(".choices").hidden = false;
  element("scatter").hidden = false;
  element("no-script").hidden = true;
  refill();
}
