"use strict";
// A line chart as SVG, drawn again when its data change; hovering shows the values below the pointer.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 120, LEFT = 52, RIGHT = 6, TOP = 6, BOTTOM = 18;

function element(name, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  const size = Math.abs(value);
  if (size >= 1e6) return (value / 1e6).toPrecision(3) + "M";
  if (size >= 1e4) return (value / 1e3).toPrecision(3) + "k";
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  if (size >= 1e-3 || size === 0) return String(Number(value.toPrecision(3)));
  return value.toExponential(1);
}

class Chart {
  // series: {name: {xs: [...], ys: [...]}}
  constructor(title, options = {}) {
    this.title = title;
    this.options = {unit: "", xlabel: "environment steps", onpick: null, ...options};
    this.series = {};
    this.cursor = null;
    this.figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = title;
    this.value = document.createElement("span");
    caption.append(name, this.value);
    this.svg = element("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title});
    this.figure.append(caption, this.svg);
    this.svg.addEventListener("pointermove", event => this.hover(event));
    this.svg.addEventListener("pointerleave", () => { this.hovered = null; this.mark(); });
    this.svg.addEventListener("click", event => this.options.onpick && this.options.onpick(this.at(event)));
  }

  setSeries(series) {
    this.series = series;
    const all = Object.values(series);
    const xs = all.flatMap(s => [s.xs[0], s.xs[s.xs.length - 1]]).filter(Number.isFinite);
    let low = Infinity, high = -Infinity;
    for (const s of all) for (const y of s.ys) if (Number.isFinite(y)) { low = Math.min(low, y); high = Math.max(high, y); }
    if (!xs.length || low > high) return;
    if (low === 0 && high === 0) high = 1;
    if (low === high) { low -= Math.abs(low) * 0.1; high += Math.abs(high) * 0.1; }
    this.xrange = [Math.min(...xs), Math.max(...xs)];
    if (this.xrange[0] === this.xrange[1]) this.xrange[1] += 1;
    this.yrange = [low, high];
    this.draw();
  }

  x(value) { return LEFT + (WIDTH - LEFT - RIGHT) * (value - this.xrange[0]) / (this.xrange[1] - this.xrange[0]); }
  y(value) { return TOP + (HEIGHT - TOP - BOTTOM) * (this.yrange[1] - value) / (this.yrange[1] - this.yrange[0]); }

  at(event) {
    const box = this.svg.getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    const share = Math.min(1, Math.max(0, inside));
    return this.xrange[0] + share * (this.xrange[1] - this.xrange[0]);
  }

  draw() {
    this.svg.replaceChildren();
    const [low, high] = this.yrange;
    for (const value of [low, (low + high) / 2, high]) {
      const y = this.y(value);
      this.svg.append(element("line", {x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: "grid"}));
      this.svg.append(element("text", {x: LEFT - 5, y: y + 4, "text-anchor": "end"}, short(value)));
    }
    this.svg.append(element("text", {x: LEFT, y: HEIGHT - 4}, short(this.xrange[0])));
    this.svg.append(element("text", {x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end"},
      `${short(this.xrange[1])} ${this.options.xlabel}`));
    Object.values(this.series).forEach((s, i) => {
      const stride = Math.max(1, Math.floor(s.xs.length / 1500));
      let path = "", pen = false;
      for (let j = 0; j < s.xs.length; j += stride) {
        if (!Number.isFinite(s.ys[j])) { pen = false; continue; }
        path += `${pen ? "L" : "M"}${this.x(s.xs[j]).toFixed(1)} ${this.y(s.ys[j]).toFixed(1)}`;
        pen = true;
      }
      this.svg.append(element("path", {d: path, class: "line", stroke: `var(--series-${i % 6})`}));
      if (s.xs.length === 1)
        this.svg.append(element("circle", {cx: this.x(s.xs[0]), cy: this.y(s.ys[0]), r: 2.5, fill: `var(--series-${i % 6})`}));
    });
    this.now = element("line", {y1: TOP, y2: HEIGHT - BOTTOM, class: "now", visibility: "hidden"});
    this.svg.append(this.now);
    this.mark();
  }

  hover(event) {
    if (!this.xrange) return;
    this.hovered = this.at(event);
    this.mark();
  }

  setCursor(value) { this.cursor = value; this.mark(); }

  mark() {
    if (!this.xrange) return;
    const at = this.hovered ?? this.cursor;
    const texts = Object.values(this.series).map(s => {
      if (at === null || at === undefined) return short(s.ys[s.ys.length - 1]);
      let j = s.xs.findIndex(x => x >= at);
      if (j < 0) j = s.xs.length - 1;
      return short(s.ys[j]);
    });
    const unit = this.options.unit ? ` ${this.options.unit}` : "";
    this.value.textContent = (this.hovered != null ? `${short(this.hovered)}: ` : "") + texts.join(", ") + unit;
    if (!this.now) return;
    if (at === null || at === undefined) { this.now.setAttribute("visibility", "hidden"); return; }
    const x = this.x(Math.min(Math.max(at, this.xrange[0]), this.xrange[1]));
    this.now.setAttribute("x1", x);
    this.now.setAttribute("x2", x);
    this.now.setAttribute("visibility", "visible");
  }
}
