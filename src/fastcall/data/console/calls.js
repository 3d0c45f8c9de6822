// The list of calls.
import { clock, make, nameOf, setText } from "./dom.js";

const MAX_SHOWN = 100;

export class CallList {
  /** `choose(id)` is called when someone picks a call. */
  constructor(model, choose) {
    this.model = model;
    this.choose = choose;
    this.list = document.getElementById("call-list");
    this.filter = document.getElementById("filter");
    this.more = document.getElementById("more-calls");
    this.rows = new Map();
    this.chosen = null;
    this.filter.addEventListener("input", () => this.show());
  }

  show(now = Date.now()) {
    const wanted = this._wanted();
    for (const [id, row] of this.rows) {
      if (!wanted.some((call) => call.id === id)) {
        row.item.remove();
        this.rows.delete(id);
      }
    }
    wanted.forEach((call, index) => {
      const row = this.rows.get(call.id) ?? this._add(call);
      // Moving an element would take the focus off it.
      if (this.list.children[index] !== row.item) this.list.insertBefore(row.item, this.list.children[index] ?? null);
      this._update(row, call, now);
    });
    document.getElementById("no-calls").hidden = this.model.calls.size > 0;
    document.getElementById("filter-row").hidden = this.model.calls.size < 6;
    const left = this.matching - wanted.length;
    setText(this.more, left > 0 ? `and ${left} more; find one by its id` : "");
  }

  _wanted() {
    const text = this.filter.value.trim().toLowerCase();
    const all = [...this.model.calls.values()].filter((call) => `${call.sid} ${call.which}`.toLowerCase().includes(text));
    this.matching = all.length;
    // The newest first, live ones before those that are over.
    return all.reverse().sort((a, b) => Number(b.isLive) - Number(a.isLive)).slice(0, MAX_SHOWN);
  }

  _add(call) {
    const parts = {
      id: make("span", { class: "call-id", title: call.sid }),
      time: make("span", { class: "call-time" }),
      snippet: make("span", { class: "call-snippet", dir: "auto" }),
      state: make("span", { class: "sr-only" }),
      dot: make("span", { class: "dot", "aria-hidden": "true" }),
    };
    const button = make("button", { type: "button", class: "call-row" });
    button.append(parts.dot, parts.id, parts.time, parts.snippet, parts.state);
    button.addEventListener("click", () => this.choose(call.id));
    const row = { ...parts, button, item: make("li", {}, button) };
    this.rows.set(call.id, row);
    return row;
  }

  _update(row, call, now) {
    const state = !call.isLive ? "ended" : call.speaking ? "speaking" : "live";
    row.button.dataset.state = state;
    setText(row.state, { ended: "ended", speaking: "someone speaks", live: "live" }[state]);
    setText(row.id, nameOf(call));
    setText(row.time, clock(call.timeAt(now)));
    setText(row.snippet, call.snippet || (call.isLive ? "nothing said yet" : "nothing was said"));
    row.snippet.classList.toggle("is-empty", !call.snippet);
    const isChosen = call.id === this.chosen;
    if (isChosen) row.button.setAttribute("aria-current", "true");
    else row.button.removeAttribute("aria-current");
  }
}
