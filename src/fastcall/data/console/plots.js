// Small plots of the server's numbers: one quantity each, its newest value in words, what must not be exceeded as a line.
import { draw, make, setText } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 64;
const MIN_SPAN_MS = 60_000;
const MAX_SPAN_MS = 600_000;
const NEWEST_MS = 60_000;

const latency = (name, high) => ({ of: (n) => n.latency(name, 0.5), high: (n) => n.latency(name, high) });

const PLOTS = [
  {
    id: "response", title: "First response", unit: "ms", limit: 1200, ...latency("first_response_seconds", 0.95),
    help: "From the end of speech to the first audio of the answer: median and 95th percentile of half a minute; at most 1,200 ms",
  },
  {
    id: "commit", title: "Commit", unit: "ms", ...latency("commit_latency_seconds", 0.95),
    help: "From the end of speech to the committed text: median and 95th percentile of half a minute",
  },
  {
    id: "partial", title: "Partial", unit: "ms", ...latency("partial_latency_seconds", 0.95),
    help: "From the newest recognized sound to its partial: median and 95th percentile of half a minute",
  },
  {
    id: "age", title: "Audio age", unit: "ms", limit: 10, ...latency("audio_age_seconds", 0.99),
    help: "Age of the newest audio when it goes to the recognizer: median and 99th percentile of half a minute; at most 10 ms",
  },
  {
    id: "lag", title: "Loop lag", unit: "ms",
    of: (n) => n.gauge("loop_lag_seconds", 1000), high: (n) => n.latency("loop_lateness_seconds", 0.99),
    help: "How late the event loop is: median of two seconds, and 99th percentile of half a minute",
  },
  {
    id: "busy", title: "Loop busy", unit: "%", top: 100, of: (n) => n.gauge("loop_busy_ratio", 100),
    help: "Share of one core that the event loop uses",
  },
  { id: "calls", title: "Live calls", unit: "", isCount: true, of: (n) => n.gauge("calls_live"), help: "Calls that are live" },
  {
    id: "batches", title: "Batches", unit: "/s", of: (n) => n.rate("audio_age_seconds_count"),
    help: "Requests with audio to the recognizer, a second",
  },
];

export class Plots {
  constructor() {
    const place = document.getElementById("plots");
    this.plots = PLOTS.map((plot) => ({ ...plot, ...addPlot(plot, place) }));
  }

  show(numbers, now = Date.now()) {
    const first = numbers.samples.items[0]?.at ?? now;
    const span = Math.min(MAX_SPAN_MS, Math.max(MIN_SPAN_MS, now - first));
    for (const plot of this.plots) showPlot(plot, numbers, { now, span });
  }
}

function addPlot({ id, title, help }, place) {
  const parts = {
    value: make("output", { class: "plot-value" }),
    topLabel: make("span", { class: "plot-top", "aria-hidden": "true" }),
    area: draw("path", { class: "plot-area" }),
    highLine: draw("path", { class: "plot-high" }),
    limitLine: draw("line", { class: "plot-limit", x1: 0, x2: WIDTH, visibility: "hidden" }),
    line: draw("path", { class: "plot-line" }),
  };
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", class: "plot-svg" };
  const svg = draw("svg", box, parts.area, parts.highLine, parts.limitLine, parts.line);
  const frame = make("div", { class: "plot-frame" }, svg, parts.topLabel);
  const name = make("h3", { class: "plot-title", title: help }, title);
  place.append(make("article", { class: "plot", id: `plot-${id}` }, name, parts.value, frame, make("p", { class: "sr-only" }, help)));
  return parts;
}

function showPlot(plot, numbers, { now, span }) {
  const values = plot.of(numbers);
  const highs = plot.high?.(numbers) ?? [];
  const all = [...values, ...highs].map(([, value]) => value).filter((value) => value !== null);
  const highest = Math.max(1, ...all);
  // The limit is shown as soon as it is not far.
  const top = plot.top ?? niceTop(Math.max(highest, highest > (plot.limit ?? Infinity) / 2 ? plot.limit : 0));
  const x = (at) => WIDTH - ((now - at) / span) * WIDTH;
  const y = (value) => HEIGHT - 1 - (Math.min(value, top) / top) * (HEIGHT - 4);
  plot.line.setAttribute("d", path(values, x, y));
  plot.area.setAttribute("d", area(values, x, y));
  plot.highLine.setAttribute("d", path(highs, x, y));
  const hasLimit = plot.limit !== undefined && plot.limit <= top;
  plot.limitLine.setAttribute("visibility", hasLimit ? "visible" : "hidden");
  for (const name of hasLimit ? ["y1", "y2"] : []) plot.limitLine.setAttribute(name, y(plot.limit));
  setText(plot.topLabel, all.length ? top.toLocaleString("en") : "");
  const [newest, high] = [newestOf(values, now), newestOf(highs, now)];
  setText(plot.value, newest === null ? "–" : say(newest, high, plot));
  plot.value.classList.toggle("is-over", plot.limit !== undefined && (newest ?? 0) > plot.limit);
}

function newestOf(points, now) {
  return points.findLast(([at, value]) => value !== null && now - at < NEWEST_MS)?.[1] ?? null;
}

function say(value, high, { unit, isCount }) {
  const number = (each) => {
    if (isCount || each >= 9.95) return Math.round(each).toLocaleString("en");
    return each >= 0.05 ? each.toFixed(1) : "0";
  };
  const range = high === null ? "" : ` – ${number(high)}`;
  return `${number(value)}${range}${unit ? `\u202f${unit}` : ""}`;
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10, 20].map((step) => step * power).find((step) => step >= value * 1.05);
}

// Where there is no value there is no line.
function runsOf(points) {
  const runs = [[]];
  for (const point of points) {
    if (point[1] !== null) runs.at(-1).push(point);
    else if (runs.at(-1).length) runs.push([]);
  }
  return runs.filter((run) => run.length);
}

function path(points, x, y) {
  return runsOf(points)
    .map((run) => `M${run.map(([at, value]) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`)
    .join("");
}

function area(points, x, y) {
  return runsOf(points)
    .map((run) => `${path(run, x, y)}L${x(run.at(-1)[0]).toFixed(1)} ${HEIGHT}L${x(run[0][0]).toFixed(1)} ${HEIGHT}Z`)
    .join("");
}
