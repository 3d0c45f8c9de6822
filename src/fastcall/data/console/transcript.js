// What is said in one call, as it comes: partials grow, commits settle, amendments show what they changed.
import { clock, make, setText } from "./dom.js";
import { compareWords } from "./words.js";

const BADGES = { speaking: "partial", committed: "", amended: "amended" };
const NEAR_END_PX = 60;
const ANSWER_LIMIT_MS = 1200;

export class Transcript {
  constructor() {
    this.list = document.getElementById("transcript");
    this.scroller = document.getElementById("transcript-scroll");
    this.live = document.getElementById("spoken");
    this.shown = new Map();
    this.call = null;
  }

  show(call) {
    const isNew = call !== this.call;
    if (isNew) this._clear(call);
    if (!call) return;
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const wasAtEnd = isNew || scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    const present = new Set(call.entries.items);
    for (const [entry, row] of this.shown) {
      if (!present.has(entry)) {
        row.element.remove();
        this.shown.delete(entry);
      }
    }
    for (const entry of call.entries.items) this._showEntry(entry, isNew);
    document.getElementById("nothing-said").hidden = call.entries.items.length > 0;
    if (wasAtEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  _clear(call) {
    this.call = call;
    this.shown.clear();
    this.list.replaceChildren();
  }

  _showEntry(entry, isNew) {
    let row = this.shown.get(entry);
    if (!row) {
      row = (ROWS[entry.kind] ?? textRow)(entry);
      this.shown.set(entry, row);
      this.list.append(row.element);
    }
    if (entry.kind in ROWS || row.version === entry.version) return;
    const hadState = row.state;
    row.version = entry.version;
    if (entry.kind === "agent") showAgent(row, entry);
    else showUtterance(row, entry);
    if (!isNew && entry.kind === "utterance" && entry.state !== "speaking" && hadState !== entry.state) this._say(entry);
  }

  // Read out what is settled, not each partial: a screen reader would never come to the end of one.
  _say({ state, text }) {
    if (text) this.live.append(make("p", {}, state === "amended" ? `amended: ${text}` : text));
    while (this.live.children.length > 5) this.live.firstChild.remove();
  }
}

function textRow(entry) {
  const who = entry.kind === "agent" ? "Agent" : "Caller";
  const parts = {
    time: make("time", { class: "entry-time" }, clock(entry.start)),
    text: make("p", { class: "entry-text", dir: "auto" }),
    badge: make("span", { class: "badge" }),
    ending: make("span", { class: "turn-parts" }),
  };
  const element = make("li", { class: `entry ${entry.kind}` });
  element.append(parts.time, make("div", { class: "entry-body" }, make("span", { class: "who" }, who), parts.badge, parts.ending, parts.text));
  return { ...parts, element, version: -1, state: null };
}

function noteRow({ tone, text, start }) {
  const element = make("li", { class: `entry note ${tone}` });
  element.append(make("time", { class: "entry-time" }, clock(start)), make("p", { class: "entry-text" }, text));
  return { element };
}

// A bar of what the time went into: its length is the time, against the 1.2 s that an answer may take.
function turnRow({ text, parts, start }) {
  const bar = make("span", { class: "turn-bar", "aria-hidden": "true" });
  for (const [name, ms] of parts) {
    const part = make("span", { class: `turn-part ${name}` });
    part.style.width = `${Math.min(100, (100 * ms) / ANSWER_LIMIT_MS)}%`;
    bar.append(part);
  }
  const words = parts.map(([name, ms]) => `${name.replace("_", " ")} ${Math.round(ms)}`).join(" · ");
  const element = make("li", { class: "entry note turn" });
  const body = make("div", { class: "turn-body" }, make("p", { class: "entry-text" }, text));
  if (parts.length) body.append(bar, make("p", { class: "turn-parts" }, words));
  element.append(make("time", { class: "entry-time" }, clock(start)), body);
  return { element };
}

const ROWS = { note: noteRow, turn: turnRow };

function showAgent(row, { text, heard, isPaused }) {
  row.element.classList.toggle("is-cut", heard !== null);
  setText(row.badge, isPaused ? "paused" : heard === null ? "" : "interrupted");
  if (heard !== null && text.startsWith(heard)) {
    row.text.replaceChildren(heard, make("span", { class: "unheard" }, text.slice(heard.length)));
  } else {
    setText(row.text, text);
  }
}

function showUtterance(row, entry) {
  row.state = entry.state;
  row.element.dataset.state = entry.state;
  setText(row.badge, BADGES[entry.state]);
  setText(row.ending, entry.ending ?? "");
  setText(row.time, clock(entry.start));
  if (entry.state === "amended" && entry.before) {
    const marks = { same: "span", gone: "del", new: "ins" };
    const words = compareWords(entry.before, entry.text).flatMap(([kind, word]) => [make(marks[kind], {}, word), " "]);
    row.text.replaceChildren(...words);
  } else {
    setText(row.text, entry.text || (entry.state === "speaking" ? "…" : "(no words)"));
  }
  row.text.classList.toggle("is-empty", !entry.text);
}
