// Twilio Media Streams, the telephone's side: what it sends, and what it takes of a server.
// https://www.twilio.com/docs/voice/media-streams/websocket-messages

const ACCOUNT = `AC${"0".repeat(32)}`;

export const KEYS = "123456789*0#";

/** The messages of one call, in Twilio's fields and types: numbers are texts. */
export class CallerMessages {
  constructor({ call_sid, stream_sid, parameters }) {
    this.callSid = call_sid;
    this.streamSid = stream_sid;
    this.parameters = parameters;
    this.sequence = 0;
    this.chunk = 0;
  }

  connected() {
    return JSON.stringify({ event: "connected", protocol: "Call", version: "1.0.0" });
  }

  start() {
    const start = {
      accountSid: ACCOUNT,
      streamSid: this.streamSid,
      callSid: this.callSid,
      tracks: ["inbound"],
      mediaFormat: { encoding: "audio/x-mulaw", sampleRate: 8000, channels: 1 },
      customParameters: this.parameters,
    };
    return this._dump("start", { start });
  }

  /** `mulaw`: the next 20 ms, as bytes. */
  media(mulaw) {
    const timestamp = String(20 * this.chunk);
    const media = { track: "inbound", chunk: String(++this.chunk), timestamp, payload: toBase64(mulaw) };
    return this._dump("media", { media });
  }

  dtmf(digit) {
    return this._dump("dtmf", { dtmf: { track: "inbound_track", digit } });
  }

  mark(name) {
    return this._dump("mark", { mark: { name } });
  }

  stop() {
    return this._dump("stop", { stop: { accountSid: ACCOUNT, callSid: this.callSid } });
  }

  _dump(event, members) {
    return JSON.stringify({ event, sequenceNumber: String(++this.sequence), ...members, streamSid: this.streamSid });
  }
}

const INNER = { media: ["media", "payload"], mark: ["mark", "name"], clear: [null, null] };

/**
 * What a server sent: {event: "media", mulaw}, {event: "mark", name} or {event: "clear"}; {error} for what Twilio would
 * refuse, which is as strict: no field may be missing, none be too many.
 */
export function readMessage(text, streamSid) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return { error: "it is no JSON" };
  }
  const event = message?.event;
  if (!Object.hasOwn(INNER, event)) return { error: `unknown event ${String(event).slice(0, 40)}` };
  const [outer, inner] = INNER[event];
  const wanted = ["event", "streamSid", ...(outer ? [outer] : [])];
  const wrong = differs(message, wanted) ?? (outer ? differs(message[outer], [inner]) : null);
  if (wrong) return { error: `${event}: ${wrong}` };
  if (message.streamSid !== streamSid) return { error: `${event}: streamSid is not this stream's` };
  if (event === "clear") return { event };
  const value = message[outer][inner];
  if (typeof value !== "string") return { error: `${event}: ${inner} is no text` };
  if (event === "mark") return { event, name: value };
  const mulaw = fromBase64(value);
  return mulaw ? { event, mulaw } : { error: "media: payload is no base64" };
}

function differs(object, wanted) {
  if (object === null || typeof object !== "object") return "it is no object";
  const missing = wanted.find((name) => !Object.hasOwn(object, name));
  if (missing) return `field ${missing} is missing`;
  const extra = Object.keys(object).find((name) => !wanted.includes(name));
  return extra ? `field ${extra.slice(0, 40)} is too many` : null;
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function fromBase64(text) {
  try {
    const binary = atob(text);
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}
