// What is known of the calls, from the events alone. Bounded everywhere: the page may stay open for weeks.

const MAX_CALLS = 400;
const MAX_ENDED = 40;
const MAX_ENTRIES = 300;
const MAX_SPANS = 600;
const MAX_BATCHES = 4000;

/** The newest `limit` items, and a few more for moments. */
export class Ring {
  constructor(limit) {
    this.limit = limit;
    this.items = [];
  }

  push(item) {
    this.items.push(item);
    if (this.items.length > this.limit * 1.25) this.items.splice(0, this.items.length - this.limit);
  }

  get last() {
    return this.items[this.items.length - 1];
  }
}

/**
 * One call, which may be one of several streams that share a `sid`. Times of the call are ms since its first audio;
 * `…At` are ms of the page's clock.
 */
export class Call {
  constructor(sid, streamSid, now) {
    this.sid = sid;
    this.id = streamSid; // stays, also when the call goes on over another stream
    this.streamSid = streamSid;
    this.stream = "";
    this.tracks = [];
    this.seenAt = now;
    this.zeroAt = now;
    this.endedAt = null;
    this.isWhole = false; // whether its beginning was seen
    this.source = "";
    this.entries = new Ring(MAX_ENTRIES); // what is read: utterances, the agent's texts, notes
    this.spans = new Ring(MAX_SPANS); // what the agent said, and how much of it was heard
    this.marks = new Ring(MAX_SPANS); // what happened at one moment
    this.batches = new Ring(MAX_BATCHES);
    this.utterances = new Map();
    this.speaking = null;
    this.snippet = "";
    this.version = 0;
  }

  /** The call's time at a moment of the page's clock. */
  timeAt(at) {
    return Math.max(0, (this.endedAt ?? at) - this.zeroAt);
  }

  get isLive() {
    return this.endedAt === null;
  }

  /** Which stream of its call it is; empty for the one that most calls have. */
  get which() {
    return this.stream || (this.tracks.length > 1 ? this.tracks.join(" and ") : "");
  }

  /** What the server says of which stream it is. */
  describe({ stream, tracks }) {
    if (typeof stream === "string") this.stream = stream;
    if (Array.isArray(tracks)) this.tracks = tracks;
  }
}

export class Model {
  constructor() {
    this.calls = new Map(); // by id
    this.streams = new Map(); // the same, by the stream that each has now
    this.onchange = () => {};
    this.skew = null; // the page's clock minus the server's
  }

  /** One event of the transcript stream, of whatever kind. */
  take(event, now = Date.now()) {
    const streamSid = event.stream_sid;
    if (typeof streamSid !== "string" || typeof event.call_sid !== "string" || typeof event.event !== "string") return;
    const at = this._pageTime(event.at, now);
    if (event.event === "call_moved") this._move(event.previous_stream_sid, streamSid);
    let call = this.streams.get(streamSid);
    if (!call) {
      call = this._add(event.call_sid, streamSid, at);
      call.isWhole = event.event === "call_started";
    }
    call.seenAt = at;
    const end = event.end_ms ?? event.start_ms;
    // What is told of was heard before: the earliest beginning that explains all is the true one.
    if (Number.isFinite(end) && event.event !== "agent_audio") call.zeroAt = Math.min(call.zeroAt, at - end);
    call.version++;
    (TAKERS[event.event] ?? takeUnknown)(call, event, at);
    this.onchange(call, event);
  }

  /** A batch of audio went to the recognizer. */
  takeBatch(event, now = Date.now()) {
    const call = this.streams.get(event.stream_sid);
    if (!call || event.event !== "batch") return;
    const sentAt = call.timeAt(this._pageTime(event.at, now));
    call.batches.push({ start: event.start_ms, end: event.end_ms, sent: sentAt });
  }

  /** The calls that the server says are live: what began before the page did is added, what ended unseen is ended. */
  reconcile(live, now = Date.now()) {
    const sids = new Set();
    for (const each of live.slice(-MAX_CALLS)) {
      sids.add(each.stream_sid);
      const call = this.streams.get(each.stream_sid) ?? this._add(each.call_sid, each.stream_sid, now);
      call.describe(each);
    }
    for (const call of this.calls.values()) {
      // A call that was placed a moment ago may be missing from an answer that is older.
      if (call.isLive && !sids.has(call.streamSid) && now - call.seenAt > 5000) this._end(call, now);
    }
    this.onchange(null, null);
  }

  /** What was played in this page itself, of the call that it placed. */
  playedHere(id, playing, now = Date.now()) {
    const call = this.calls.get(id);
    if (!call) return;
    const time = call.timeAt(now);
    const last = call.spans.items.findLast((span) => span.isLocal);
    if (playing && !(last && last.end === null)) call.spans.push({ start: time, end: null, text: "", isLocal: true });
    if (!playing && last && last.end === null) last.end = time;
  }

  _pageTime(at, now) {
    if (!Number.isFinite(at)) return now;
    const skew = now - at * 1000;
    // The quickest event tells most of how far the clocks are apart.
    this.skew = this.skew === null ? skew : Math.min(this.skew, skew);
    return at * 1000 + this.skew;
  }

  _add(sid, streamSid, at) {
    const call = new Call(sid, streamSid, at);
    this.calls.set(call.id, call);
    this.streams.set(streamSid, call);
    this._forget();
    return call;
  }

  /** A call goes on over another stream. The list of live calls may have told of that one already. */
  _move(from, to) {
    const call = this.streams.get(from);
    if (!call || from === to) return;
    const known = this.streams.get(to);
    if (known) this._drop(known);
    this.streams.delete(from);
    this.streams.set(to, call);
    call.streamSid = to;
  }

  _drop(call) {
    this.calls.delete(call.id);
    if (this.streams.get(call.streamSid) === call) this.streams.delete(call.streamSid);
  }

  _end(call, at) {
    call.endedAt ??= at;
    call.speaking = null;
    call.version++;
  }

  _forget() {
    const ended = [...this.calls.values()].filter((call) => !call.isLive);
    for (const call of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) this._drop(call);
    for (const call of this.calls.values()) {
      if (this.calls.size <= MAX_CALLS) return;
      this._drop(call);
    }
  }
}

function utteranceOf(call, event) {
  const id = event.utterance_id;
  let utterance = call.utterances.get(id);
  if (!utterance) {
    utterance = {
      kind: "utterance",
      id,
      state: "speaking",
      text: "",
      before: null,
      start: event.start_ms ?? 0,
      end: null,
      version: 0,
    };
    call.utterances.set(id, utterance);
    call.entries.push(utterance);
    if (call.utterances.size > MAX_ENTRIES) call.utterances.delete(call.utterances.keys().next().value);
  }
  if (Number.isFinite(event.start_ms)) utterance.start = event.start_ms;
  if (Number.isFinite(event.end_ms)) utterance.end = event.end_ms;
  utterance.version++;
  if (event.source) call.source = event.source;
  return utterance;
}

function note(call, event, at, tone, text) {
  const time = call.timeAt(at);
  call.entries.push({ kind: "note", tone, text, start: time, version: 0 });
  call.marks.push({ time, tone, text });
}

function takeUnknown(call, event, at) {
  const words = event.event.replaceAll("_", " ");
  note(call, event, at, "plain", event.text ? `${words}: ${event.text}` : words);
}

/** Of the time until an answer, in order. */
const PARTS = ["endpointing", "commit", "agent", "first_audio"];

// Why a turn ended; silence is the rule and needs no words.
const TURN_ENDS = {
  background: "silence, with others in the background",
  no_words: "no more words, though there was sound",
  no_audio: "no audio came",
  too_long: "the longest that a turn may be",
  stopped: "the call ended",
};
const NOT_SAID = { held: "The agent waits for the end of the caller's turn to say", dropped: "The agent no longer says" };
const NOT_INTERRUPTED = { backchannel: "a backchannel", uninterruptible: "what it says may not be interrupted" };
const FALLBACK_REASONS = { outage: "an outage", failed: "a failure", off: "streaming is off", bound: "too much to replay" };

const MACHINE_REASONS = { twilio: "says Twilio", words: "by its words", monologue: "by its monologue", beep: "by its beep" };

const TAKERS = {
  call_started(call, event, at) {
    call.describe(event);
    call.zeroAt = Math.min(call.zeroAt, at);
  },
  call_moved(call, event, at) {
    note(call, event, at, "rotation", "The call continues on another telephone stream");
  },
  session_started(call, event) {
    call.source = event.source ?? call.source;
  },
  session_rotated(call, event, at) {
    note(call, event, at, "rotation", `The session continues on another recognizer stream (${event.text})`);
  },
  session_failed(call, event, at) {
    note(call, event, at, "failure", `The recognizer failed: ${event.text ?? "no reason given"}`);
  },
  no_words(call, event, at) {
    note(call, event, at, "failure", "Speech is heard, and the recognizer returns no words");
  },
  machine_detected(call, event, at) {
    note(call, event, at, "plain", `A machine answers (${MACHINE_REASONS[event.reason] ?? event.reason})`);
  },
  beep(call, event, at) {
    note(call, event, at, "plain", "The machine's beep");
  },
  utterance_begin(call, event) {
    call.speaking = utteranceOf(call, event);
  },
  partial(call, event) {
    const utterance = utteranceOf(call, event);
    utterance.text = event.text ?? "";
    call.snippet = utterance.text;
  },
  final(call, event) {
    // The recognizer's own; what counts for the utterance comes with its end, or as an amendment.
    if (event.source) call.source = event.source;
  },
  utterance_end(call, event) {
    const utterance = utteranceOf(call, event);
    utterance.text = event.text ?? "";
    utterance.state = "committed";
    utterance.ending = event.backchannel ? "the agent goes on" : (TURN_ENDS[event.turn_end] ?? "");
    if (call.speaking === utterance) call.speaking = null;
    if (utterance.text) call.snippet = utterance.text;
  },
  amended(call, event) {
    const utterance = utteranceOf(call, event);
    utterance.before ??= utterance.text;
    utterance.text = event.text ?? "";
    utterance.state = "amended";
    if (utterance.text) call.snippet = utterance.text;
  },
  fallback(call, event, at) {
    const why = FALLBACK_REASONS[event.text];
    note(call, event, at, "fallback", why ? `The fallback hears it (${why})` : `The fallback: ${event.text ?? ""}`);
  },
  // Comes when an answer begins, and again when it was played or cut off, paused or resumed; or once, with both ends.
  agent_audio(call, event, at) {
    if (event.state in NOT_SAID) {
      note(call, event, at, "barge", `${NOT_SAID[event.state]}: ${event.text ?? "audio"}`);
      return;
    }
    const start = event.start_ms ?? call.timeAt(at);
    const isSame = (each) => event.speech_id !== undefined && each.speechId === event.speech_id;
    let span = call.spans.items.findLast((each) => isSame(each));
    if (!span) {
      span = { speechId: event.speech_id, start, end: null, text: event.text ?? "", isLocal: false };
      call.spans.push(span);
      if (event.text) {
        call.entries.push({ kind: "agent", speechId: event.speech_id, text: event.text, start, heard: null, isPaused: false, version: 0 });
      }
    }
    const entry = call.entries.items.findLast((each) => each.kind === "agent" && isSame(each));
    if (event.state === "resumed") {
      note(call, event, at, "barge", "No interruption after all: the agent goes on");
      const heardBefore = span.heardMs ?? 0;
      call.spans.push({ speechId: event.speech_id, start: event.end_ms ?? call.timeAt(at), end: null, text: span.text, isLocal: false, heardBefore });
    } else {
      span.end = event.end_ms ?? span.end;
      span.heardMs = event.heard_ms;
    }
    if (event.state === "cut") {
      const heardHere = Math.max(0, (event.heard_ms ?? 0) - (span.heardBefore ?? 0));
      span.cutAt = Math.min(span.start + heardHere, span.end ?? Infinity);
    }
    if (entry && ["cut", "paused", "resumed"].includes(event.state)) {
      entry.heard = event.state === "resumed" ? null : event.heard_text ?? "";
      entry.isPaused = event.state === "paused";
      entry.version++;
    }
  },
  barge_in(call, event, at) {
    const time = call.timeAt(at);
    const span = call.spans.items.findLast((each) => !each.isLocal);
    if (span && (span.end === null || span.end > time)) span.cutAt = time;
    const entry = call.entries.items.findLast((each) => each.kind === "agent");
    if (entry && event.text !== null && event.text !== undefined) {
      entry.heard = event.text;
      entry.isPaused = false;
      entry.version++;
    }
    const after = Number.isFinite(event.after_ms) ? ` The reply stopped ${Math.round(event.after_ms)} ms later.` : "";
    note(call, event, at, "barge", `The caller interrupts.${after}`);
  },
  not_interrupted(call, event, at) {
    const why = NOT_INTERRUPTED[event.reason] ?? event.reason;
    note(call, event, at, "barge", `The caller is heard, and the agent goes on: ${why}`);
  },
  first_response(call, event, at) {
    const took = firstResponseMs(event);
    const text = took === null ? "First response" : `Answered in ${took.toLocaleString("en")} ms`;
    const parts = PARTS.filter((name) => Number.isFinite(event[`${name}_ms`])).map((name) => [name, event[`${name}_ms`]]);
    const time = call.timeAt(at);
    call.marks.push({ time, tone: "response", text });
    call.entries.push({ kind: "turn", text, parts, start: time, version: 0 });
    if (took !== null) call.lastResponseMs = took;
  },
  session_closed() {},
  call_ended(call, event, at) {
    call.endedAt ??= at;
    call.speaking = null;
    for (const span of call.spans.items) span.end ??= call.timeAt(at);
    if (event.text) note(call, event, at, "failure", `The call ended: ${event.text}`);
  },
};

/** From the end of speech to the first audio of the answer, where the event says both. */
function firstResponseMs({ total_ms, start_ms, end_ms }) {
  if (Number.isFinite(total_ms)) return Math.round(total_ms);
  return Number.isFinite(start_ms) && Number.isFinite(end_ms) && end_ms >= start_ms ? Math.round(end_ms - start_ms) : null;
}
