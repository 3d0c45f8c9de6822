// The telephone in the page: its buttons, its keypad, its levels.
import { make, setText } from "./dom.js";
import { Phone } from "./phone.js";
import { KEYS } from "./twilio.js";

const LETTERS = { 2: "abc", 3: "def", 4: "ghi", 5: "jkl", 6: "mno", 7: "pqrs", 8: "tuv", 9: "wxyz" };
const NAMES = { "*": "star", "#": "hash" };

export class Talk {
  /** `onplaying(id, playing)`, `onlive(id, callSid)`: what the page's own call does. */
  constructor({ onplaying, onlive, colours }) {
    this.onplaying = onplaying;
    this.onlive = onlive;
    this.colours = colours;
    this.phone = null;
    this.panel = document.getElementById("talk");
    this.button = document.getElementById("talk-button");
    this.muteButton = document.getElementById("mute");
    this.status = document.getElementById("talk-status");
    this.facts = document.getElementById("talk-facts");
    this.scope = document.getElementById("scope");
    this.button.addEventListener("click", () => this.toggle());
    document.getElementById("bar-hang-up").addEventListener("click", () => this.phone.hangUp());
    this.muteButton.addEventListener("click", () => this._mute());
    this._makeKeypad();
    this._showState("idle", "Speak with this server as a caller would.");
  }

  toggle() {
    if (this.phone && this.phone.state !== "over") {
      this.phone.hangUp();
      return;
    }
    const phone = new Phone({
      onstate: (state, text) => {
        if (state === "live") this.onlive(phone.streamSid, phone.callSid);
        this._showState(state, text);
      },
      onplaying: (playing) => this.onplaying(phone.streamSid, playing),
    });
    this.phone = phone;
    phone.call();
  }

  _showState(state, text) {
    this.panel.dataset.state = state;
    const isOn = state === "asking" || state === "connecting" || state === "live";
    setText(this.button.querySelector(".label"), isOn ? "Hang up" : "Talk");
    this.muteButton.disabled = state !== "live";
    if (state !== "live") this.muteButton.setAttribute("aria-pressed", "false");
    for (const key of document.querySelectorAll("#keypad button")) key.disabled = state !== "live";
    setText(this.status, text);
    if (state === "live") this._draw();
  }

  _mute() {
    const muted = this.muteButton.getAttribute("aria-pressed") !== "true";
    this.muteButton.setAttribute("aria-pressed", String(muted));
    this.phone?.mute(muted);
    setText(this.status, muted ? "You are muted: the caller is silent." : "You are on the line.");
  }

  _makeKeypad() {
    const pad = document.getElementById("keypad");
    for (const key of KEYS) {
      const button = make("button", { type: "button", "aria-label": NAMES[key] ?? key, disabled: true }, key);
      button.append(make("small", { "aria-hidden": "true" }, LETTERS[key] ?? ""));
      button.addEventListener("click", () => this.phone?.press(key));
      pad.append(button);
    }
    pad.addEventListener("keydown", (event) => {
      if (!KEYS.includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.phone?.press(event.key);
    });
  }

  _draw() {
    if (this.phone.state !== "live") {
      this._drawScope({ mic: [], agent: [] });
      return;
    }
    this._drawScope(this.phone.levels);
    this._showFacts(this.phone);
    requestAnimationFrame(() => this._draw());
  }

  _showFacts({ stats, player }) {
    const facts = [
      `${stats.sent.toLocaleString("en")} frames sent`,
      `${Math.round(player.played / 8000)} s played`,
      `${Math.round(player.queued / 8)} ms waiting`,
      `${stats.echoed} of ${stats.marks} marks back`,
    ];
    if (stats.clears) facts.push(`cleared ${stats.clears}×`);
    if (player.dry) facts.push(`ran dry ${player.dry}×`);
    if (player.dropped) facts.push(`${Math.round(player.dropped / 8)} ms dropped`);
    if (stats.unsent) facts.push(`${stats.unsent} frames not sent`);
    setText(this.facts, facts.join(" · "));
    setText(document.getElementById("talk-refused"), stats.refused.length ? `Twilio would refuse: ${stats.refused.at(-1)}` : "");
  }

  // The caller above the line, the agent below it; the newest at the right.
  _drawScope({ mic, agent }) {
    const { scope } = this;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [scope.clientWidth, scope.clientHeight];
    if (scope.width !== Math.round(width * scale)) {
      scope.width = Math.round(width * scale);
      scope.height = Math.round(height * scale);
    }
    const context = scope.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const colours = this.colours();
    const step = 4;
    const middle = height / 2;
    const shape = (level) => Math.max(1, Math.sqrt(Math.min(1, level)) * (middle - 4));
    for (let index = 0; index * step < width; index++) {
      const x = width - (index + 1) * step;
      const fade = 1 - (0.75 * index * step) / width;
      context.globalAlpha = fade;
      context.fillStyle = colours.caller;
      const up = shape(mic.at(-1 - index) ?? 0);
      context.fillRect(x, middle - 1 - up, step - 1.5, up);
      context.fillStyle = colours.agent;
      const down = shape(agent.at(-1 - index) ?? 0);
      context.fillRect(x, middle + 1, step - 1.5, down);
    }
    context.globalAlpha = 1;
  }
}
