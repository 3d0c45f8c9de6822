// One call in time: who spoke when, which audio went to the recognizer when, what happened to its streams.
import { clock, setText } from "./dom.js";

const LANES = [
  { id: "caller", title: "Caller", height: 36 },
  { id: "agent", title: "Agent", height: 36 },
  { id: "batches", title: "Batches", height: 26 },
  { id: "stream", title: "Session", height: 24 },
];
const GAP = 8;
const AXIS = 20;
const GUTTER = 58; // the lanes' names
const TOP = 6;
const WINDOWS_MS = [10_000, 20_000, 60_000, 300_000, 1_800_000];
const TICKS_MS = [1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000, 600_000];
const LATE_BATCH_MS = 250;
const COLOURS = ["ink", "muted", "line", "raised", "caller", "caller-soft", "agent", "agent-soft", "warm", "alarm", "ground"];

/** What an answer says: of what is played here, the server's answer of that time tells it. */
function textOf(span, spans) {
  if (!span.isLocal) return span.text;
  const told = spans.findLast((each) => !each.isLocal && each.start <= span.start + 500);
  return told && (told.end === null || told.end > span.start) ? told.text : "";
}

export class Timeline {
  constructor() {
    this.canvas = document.getElementById("timeline");
    this.context = this.canvas.getContext("2d");
    this.summary = document.getElementById("timeline-summary");
    this.tip = document.getElementById("timeline-tip");
    this.window = 1;
    this.end = null; // the call's time at the right edge; null: now
    this.call = null;
    this.hits = [];
    this._listen();
    this.recolour();
  }

  /** The page's colours have changed. */
  recolour() {
    const probe = document.getElementById("colour-probe");
    this.colours = {};
    for (const name of COLOURS) {
      probe.style.color = `var(--${name})`;
      this.colours[name] = getComputedStyle(probe).color;
    }
    this.font = getComputedStyle(this.canvas).fontFamily;
  }

  _listen() {
    const on = (id, work) => document.getElementById(id).addEventListener("click", work);
    on("zoom-in", () => this._zoom(-1));
    on("zoom-out", () => this._zoom(1));
    on("to-now", () => this._pan(null));
    this.canvas.addEventListener("keydown", (event) => {
      const step = WINDOWS_MS[this.window] / 5;
      const keys = { ArrowLeft: () => this._move(-step), ArrowRight: () => this._move(step), End: () => this._pan(null), Home: () => this._pan(0), "+": () => this._zoom(-1), "-": () => this._zoom(1) };
      const work = keys[event.key];
      if (!work || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      work();
    });
    let from = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.offsetX, end: this._rightEdge() };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (from && Math.abs(event.offsetX - from.x) > 2) {
        this._pan(from.end - ((event.offsetX - from.x) / (this.canvas.clientWidth - GUTTER)) * WINDOWS_MS[this.window]);
      }
      this._hover(event);
    });
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => (from = null));
    this.canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  _zoom(steps) {
    this.window = Math.max(0, Math.min(WINDOWS_MS.length - 1, this.window + steps));
    this.draw();
  }

  _move(ms) {
    this._pan(this._rightEdge() + ms);
  }

  _pan(end) {
    const newest = this.call ? this.call.timeAt(Date.now()) : 0;
    this.end = end === null || end >= newest ? null : Math.max(end, Math.min(newest, WINDOWS_MS[this.window]));
    document.getElementById("to-now").hidden = this.end === null;
    this.draw();
  }

  _rightEdge(now = Date.now()) {
    if (this.end !== null) return this.end;
    const length = WINDOWS_MS[this.window];
    return Math.max(length, this.call ? this.call.timeAt(now) + length * 0.02 : length);
  }

  show(call) {
    if (call !== this.call) {
      this.call = call;
      this._pan(null);
    }
    this.draw();
  }

  draw(now = Date.now()) {
    const { canvas, context } = this;
    const width = canvas.clientWidth;
    if (!this.call || !width) return;
    const height = TOP + LANES.reduce((sum, lane) => sum + lane.height + GAP, 0) + AXIS;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.textBaseline = "middle";
    this.hits = [];
    const length = WINDOWS_MS[this.window];
    const right = this._rightEdge(now);
    const inner = width - GUTTER;
    const view = { from: right - length, to: right, width, x: (ms) => GUTTER + ((ms - right + length) / length) * inner, now: this.call.timeAt(now) };
    let y = TOP;
    const painters = { caller: this._caller, agent: this._agent, batches: this._batches, stream: this._stream };
    for (const lane of LANES) {
      this._lane(lane, y, width);
      y += lane.height + GAP;
    }
    context.save();
    context.beginPath();
    context.rect(GUTTER, 0, inner, height);
    context.clip();
    this._axis(view, height);
    y = TOP;
    for (const lane of LANES) {
      painters[lane.id].call(this, view, y, lane.height);
      y += lane.height + GAP;
    }
    this._now(view, height);
    context.restore();
    this._summarise();
  }

  _lane({ height, title }, y, width) {
    const { context, colours } = this;
    context.fillStyle = colours.raised;
    this._box(GUTTER, y, width - GUTTER, height, 6);
    context.fill();
    context.font = `500 11.5px ${this.font}`;
    context.fillStyle = colours.muted;
    context.fillText(title, 0, y + height / 2 + 0.5);
  }

  _axis(view, height) {
    const { context, colours } = this;
    const step = TICKS_MS.find((each) => (each / WINDOWS_MS[this.window]) * (view.width - GUTTER) >= 64) ?? 600_000;
    context.font = `11px ${this.font}`;
    context.textAlign = "center";
    for (let at = Math.ceil(Math.max(0, view.from) / step) * step; at <= view.to; at += step) {
      const x = Math.round(view.x(at)) + 0.5;
      context.strokeStyle = colours.line;
      context.beginPath();
      context.moveTo(x, TOP);
      context.lineTo(x, height - AXIS + 2);
      context.stroke();
      context.fillStyle = colours.muted;
      if (x > GUTTER + 12 && x < view.width - 12) context.fillText(clock(at), x, height - AXIS / 2 + 2);
    }
    context.textAlign = "left";
  }

  _caller(view, y, height) {
    for (const utterance of this.call.utterances.values()) {
      const end = utterance.end ?? (utterance.state === "speaking" ? view.now : utterance.start + 200);
      const isOpen = utterance.state === "speaking";
      const text = utterance.text || (isOpen ? "…" : "");
      this._span(view, y, height, { start: utterance.start, end, text, colour: "caller", soft: "caller-soft", isOpen });
    }
  }

  _agent(view, y, height) {
    const spans = this.call.spans.items;
    // What was played in this page is nearer to the truth than what the server sent.
    const isHere = spans.some((span) => span.isLocal);
    for (const span of spans) {
      if (isHere && !span.isLocal) continue;
      const end = span.end ?? view.now;
      const heard = span.cutAt ?? end;
      this._span(view, y, height, { start: span.start, end: heard, text: textOf(span, spans), colour: "agent", soft: "agent-soft", isOpen: span.end === null });
      if (heard < end) this._span(view, y, height, { start: heard, end, text: "", colour: "agent", isHollow: true, tip: "not heard" });
    }
    for (const { time, tone, text } of this.call.marks.items) {
      if (tone === "barge") this._flag(view, y, height, time, "alarm", text);
      if (tone === "response") this._flag(view, y, height, time, "agent", text);
    }
  }

  _batches(view, y, height) {
    const { context, colours } = this;
    const items = this.call.batches.items;
    if (!items.length) return;
    const middle = y + height - 4;
    for (const { start, end, sent } of items) {
      if (sent < view.from || start > view.to) continue;
      const [x0, x1] = [view.x(start), view.x(end)];
      const age = Math.max(0, sent - end);
      const tall = 6 + Math.min(1, age / LATE_BATCH_MS) * (height - 13);
      context.fillStyle = age > LATE_BATCH_MS / 2 ? colours.warm : colours.muted;
      context.fillRect(x0 + 0.5, middle - tall, Math.max(1, x1 - x0 - 1), tall);
    }
    const last = items[items.length - 1];
    this.hits.push({ x: GUTTER, y, width: view.width, height, text: `a batch: ${Math.round(last.end - last.start)} ms of audio; taller is later` });
  }

  _stream(view, y, height) {
    const { context, colours } = this;
    const middle = y + height / 2;
    const [x0, x1] = [Math.max(GUTTER, view.x(0)), Math.min(view.width, view.x(view.now))];
    context.strokeStyle = colours.muted;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x0, middle);
    context.lineTo(Math.max(x0, x1), middle);
    context.stroke();
    context.lineWidth = 1;
    const tones = { rotation: "ink", failure: "alarm", fallback: "warm", plain: "muted" };
    for (const { time, tone, text } of this.call.marks.items) {
      if (!tones[tone] || time < view.from || time > view.to) continue;
      const x = view.x(time);
      context.fillStyle = colours[tones[tone]];
      context.strokeStyle = colours.raised;
      context.lineWidth = 2;
      context.beginPath();
      context.moveTo(x, middle - 7);
      context.lineTo(x + 7, middle);
      context.lineTo(x, middle + 7);
      context.lineTo(x - 7, middle);
      context.closePath();
      context.fill();
      context.stroke();
      context.lineWidth = 1;
      this.hits.push({ x: x - 9, y, width: 18, height, text });
    }
  }

  _span(view, y, height, { start, end, text, colour, soft, isOpen, isHollow, tip }) {
    if (end < view.from || start > view.to) return;
    const { context, colours } = this;
    const x0 = Math.max(GUTTER - 8, view.x(start));
    const x1 = Math.min(view.width + 8, view.x(end));
    const width = Math.max(3, x1 - x0);
    this._box(x0, y + 3, width, height - 6, 5);
    context.fillStyle = isHollow ? colours.raised : colours[soft];
    context.fill();
    context.strokeStyle = colours[colour];
    context.lineWidth = 1.25;
    context.setLineDash(isHollow ? [3, 3] : []);
    context.stroke();
    context.setLineDash([]);
    context.lineWidth = 1;
    if (isOpen) {
      context.fillStyle = colours[colour];
      context.fillRect(x1 - 3, y + 3, 3, height - 6);
    }
    this.hits.push({ x: x0, y, width, height, text: `${clock(start)} to ${clock(end)}${text || tip ? `: ${text || tip}` : ""}` });
    if (!text || width < 24) return;
    context.save();
    this._box(x0, y + 3, width - 4, height - 6, 5);
    context.clip();
    context.font = `12.5px ${this.font}`;
    context.fillStyle = colours.ink;
    const from = Math.max(x0, GUTTER) + 8;
    context.fillText(this._fit(text, x1 - from - 7), from, y + height / 2 + 0.5);
    context.restore();
  }

  // As much of a text as there is room for, by words where it can be.
  _fit(text, room) {
    const { context } = this;
    if (context.measureText(text).width <= room) return text;
    let count = Math.min(text.length, Math.ceil(room / 4));
    while (count > 0 && context.measureText(`${text.slice(0, count).trimEnd()}…`).width > room) count--;
    return count > 1 ? `${text.slice(0, count).trimEnd()}…` : "";
  }

  _flag(view, y, height, time, colour, text) {
    if (time < view.from || time > view.to) return;
    const x = view.x(time);
    this.context.fillStyle = this.colours[colour];
    this.context.fillRect(x - 1, y, 2, height);
    this.hits.push({ x: x - 5, y, width: 10, height, text });
  }

  _now(view, height) {
    if (!this.call.isLive) return;
    const x = view.x(view.now);
    if (x > view.width) return;
    this.context.strokeStyle = this.colours.alarm;
    this.context.globalAlpha = 0.6;
    this.context.beginPath();
    this.context.moveTo(x, TOP - 4);
    this.context.lineTo(x, height - AXIS);
    this.context.stroke();
    this.context.globalAlpha = 1;
  }

  _box(x, y, width, height, radius) {
    this.context.beginPath();
    this.context.roundRect(x, y, width, height, radius);
  }

  _hover(event) {
    const { offsetX: x, offsetY: y } = event;
    const hit = this.hits.findLast((each) => x >= each.x && x <= each.x + each.width && y >= each.y && y <= each.y + each.height);
    this.tip.hidden = !hit;
    if (!hit) return;
    setText(this.tip, hit.text);
    const left = Math.min(x + 12, this.canvas.clientWidth - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${Math.max(4, left)}px, ${hit.y + hit.height + 4}px)`;
  }

  _summarise() {
    const { call } = this;
    const rotations = call.marks.items.filter((mark) => mark.tone === "rotation").length;
    const parts = [`${call.utterances.size} utterances`, `${call.spans.items.length} answers`, `${rotations} rotations`];
    setText(this.summary, `Timeline of the last ${clock(WINDOWS_MS[this.window])}: ${parts.join(", ")}.`);
    setText(document.getElementById("zoom-label"), WINDOWS_MS[this.window] < 60_000 ? `${WINDOWS_MS[this.window] / 1000} s` : `${WINDOWS_MS[this.window] / 60_000} min`);
  }
}
