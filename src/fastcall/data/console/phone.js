// One call from this page: the microphone to the server as a telephone network would send it, and the answer played.
import { BASE, reasonOf, request } from "./access.js";
import { CallerMessages, readMessage } from "./twilio.js";

// A browser that cannot send what the microphone gives must not keep it for later.
const MAX_UNSENT_BYTES = 1 << 20;
const MAX_LEVELS = 200;

const CLOSE_REASONS = { 1000: "The server hung up.", 1006: "The connection broke.", 1012: "The server is stopping." };

/** Tells of itself by `onstate(state, text)`, state one of asking, connecting, live, over; and by `onchange`. */
export class Phone {
  constructor({ onstate, onplaying }) {
    this.onstate = onstate;
    this.onplaying = onplaying;
    this.state = "idle";
    this.callSid = null;
    this.streamSid = null;
    this.stats = { sent: 0, unsent: 0, marks: 0, echoed: 0, clears: 0, refused: [], received: 0 };
    this.player = { queued: 0, played: 0, dropped: 0, dry: 0, reserve: 0, peak: 0 };
    this.levels = { mic: [], agent: [] };
    this.waiting = []; // marks that are played, but not yet heard
  }

  /** Place the call. Must be called by a click: browsers ask for one before they record or play. */
  async call() {
    try {
      this._set("asking", "Asking for the microphone…");
      await this._openAudio();
      if (this.state === "over") return this._closeAudio(); // hung up while it was asked for
      this._set("connecting", "Connecting…");
      const answer = await request("console/calls", { method: "POST" });
      if (!answer.ok) throw new Error(`The server refused the call: ${await reasonOf(answer)}`);
      const call = await answer.json();
      if (this.state === "over") return;
      this._connect(call);
    } catch (error) {
      this._end(sayError(error));
    }
  }

  hangUp() {
    if (this._isOpen) {
      this.socket.send(this.messages.stop());
      this.socket.close(1000);
    }
    this._end("Call ended.");
  }

  press(digit) {
    if (this._isOpen) this.socket.send(this.messages.dtmf(digit));
  }

  mute(muted) {
    this.capture?.port.postMessage({ muted });
  }

  async _openAudio() {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) throw new DOMException("", "InsecureContext");
    // The answer must not come back as speech. What else browsers do to a voice takes words from the recognizer.
    const audio = { echoCancellation: true, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    this.microphone = await navigator.mediaDevices.getUserMedia({ audio });
    this.audio = new AudioContext({ latencyHint: "interactive" });
    await this.audio.resume();
    await Promise.all(["capture", "player"].map((name) => this.audio.audioWorklet.addModule(new URL(`${name}-worklet.js`, import.meta.url))));
    this.capture = new AudioWorkletNode(this.audio, "capture", { channelCount: 1, channelCountMode: "explicit" });
    this.playback = new AudioWorkletNode(this.audio, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.analyser = new AnalyserNode(this.audio, { fftSize: 512 });
    this.capture.port.onmessage = ({ data }) => this._captured(data);
    this.playback.port.onmessage = ({ data }) => this._playerSays(data);
    this.audio.createMediaStreamSource(this.microphone).connect(this.capture).connect(this.audio.destination); // silence
    this.playback.connect(this.analyser).connect(this.audio.destination);
    for (const track of this.microphone.getTracks()) {
      track.addEventListener("ended", () => this._end("The microphone is gone."));
    }
  }

  _connect(call) {
    this.callSid = call.call_sid;
    this.streamSid = call.stream_sid;
    this.messages = new CallerMessages(call);
    const url = new URL(call.path.slice(1), BASE);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const ticket = call.parameters.fastcall_ticket;
    if (ticket) url.search = new URLSearchParams({ fastcall_ticket: ticket, call: call.call_sid });
    this.socket = new WebSocket(url);
    this.socket.onopen = () => {
      this.socket.send(this.messages.connected());
      this.socket.send(this.messages.start());
      this._set("live", "You are on the line.");
    };
    this.socket.onmessage = ({ data }) => this._received(data);
    this.socket.onclose = ({ code, reason }) => this._end(reason ? `The server closed the call: ${reason}` : (CLOSE_REASONS[code] ?? `The call ended (${code}).`));
  }

  // --- to the server ---

  get _isOpen() {
    return this.state === "live" && this.socket.readyState === WebSocket.OPEN;
  }

  _captured({ frame, peak }) {
    if (!this._isOpen) return;
    keep(this.levels.mic, peak);
    keep(this.levels.agent, this.player.peak);
    if (this.socket.bufferedAmount > MAX_UNSENT_BYTES) {
      this.stats.unsent++;
      return;
    }
    this.socket.send(this.messages.media(frame));
    this.stats.sent++;
  }

  // --- from the server ---

  _received(data) {
    const message = typeof data === "string" ? readMessage(data, this.messages.streamSid) : { error: "a binary message" };
    if (message.error) {
      this.stats.refused = [...this.stats.refused.slice(-4), message.error];
    } else if (message.event === "media") {
      this.stats.received += message.mulaw.length;
      this.playback.port.postMessage({ audio: message.mulaw }, [message.mulaw.buffer]);
    } else if (message.event === "mark") {
      this.stats.marks++;
      this.playback.port.postMessage({ mark: message.name });
    } else {
      this.stats.clears++;
      this.playback.port.postMessage({ clear: true });
    }
  }

  _playerSays({ marks, cleared, playing, state }) {
    if (state) this.player = state;
    if (playing !== undefined) this.onplaying(playing);
    if (cleared !== undefined) this._flushMarks();
    if (marks?.length) this._echoLater(marks, cleared !== undefined);
  }

  // The device is behind the page's clock: what it was given is heard a moment later.
  _echoLater(names, atOnce) {
    if (atOnce) {
      for (const name of names) this._echo(name);
      return;
    }
    const latencyMs = 1000 * (this.audio.outputLatency || this.audio.baseLatency || 0);
    for (const name of names) {
      const entry = { name };
      entry.timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(entry), 1);
        this._echo(name);
      }, latencyMs);
      this.waiting.push(entry);
    }
  }

  _flushMarks() {
    for (const { name, timer } of this.waiting.splice(0)) {
      clearTimeout(timer);
      this._echo(name);
    }
  }

  _echo(name) {
    if (!this._isOpen) return;
    this.socket.send(this.messages.mark(name));
    this.stats.echoed++;
  }

  // --- its life ---

  _set(state, text) {
    this.state = state;
    this.onstate(state, text);
  }

  _end(text) {
    if (this.state === "over") return;
    for (const { timer } of this.waiting.splice(0)) clearTimeout(timer);
    this._set("over", text);
    this.onplaying(false);
    this.socket?.close();
    this._closeAudio();
  }

  _closeAudio() {
    for (const node of [this.capture, this.playback]) node?.port.postMessage({ close: true });
    for (const track of this.microphone?.getTracks() ?? []) track.stop();
    if (this.audio && this.audio.state !== "closed") this.audio.close();
  }
}

function keep(levels, level) {
  levels.push(level);
  if (levels.length > MAX_LEVELS) levels.shift();
}

const ERRORS = {
  InsecureContext: "Browsers give the microphone only to pages over HTTPS or on this machine (localhost). Open this page that way.",
  NotAllowedError: "The microphone was not allowed. Allow it for this page in the browser's address bar, then try again.",
  NotFoundError: "There is no microphone. Connect one, then try again.",
  NotReadableError: "The microphone is in use by another program. Close that, then try again.",
};

function sayError(error) {
  return ERRORS[error.name] ?? error.message;
}
