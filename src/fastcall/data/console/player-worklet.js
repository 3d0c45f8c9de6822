// What the server says, played: a queue of mu-law with marks in it. A little is kept back before it begins, more after
// each time that it ran dry in the middle, so that an uneven network is not heard.
import { decodeFloat } from "./g711.js";
import { Resampler } from "./resample.js";

const RATE = 8000;
const FIRST_RESERVE = 0.06 * RATE;
const MAX_RESERVE = 0.2 * RATE;
const MORE_RESERVE = 0.02 * RATE;
// Audio that comes so soon after the queue ran dry belonged to it.
const DRY_S = 0.3;
// A telephone network's buffer has an end too: ten minutes.
const MAX_QUEUED = 600 * RATE;
const STEP = 8;
const REPORT_BLOCKS = 16;

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(RATE, Math.round(sampleRate));
    this.queue = []; // {audio, at} and {mark}
    this.queued = 0;
    this.reserve = FIRST_RESERVE;
    this.playing = false;
    this.waitingSince = 0;
    this.driedAt = -Infinity;
    this.marked = false;
    this.step = new Float32Array(STEP);
    this.out = new Float32Array(8192);
    this.ready = 0;
    this.peak = 0;
    this.blocks = 0;
    this.played = 0;
    this.dropped = 0;
    this.dry = 0;
    this.open = true;
    this.emit = (sample) => (this.out[this.ready++] = sample);
    this.port.onmessage = ({ data }) => this._obey(data);
  }

  _obey({ audio, mark, clear, close }) {
    if (audio) this._enqueue(audio);
    if (mark !== undefined) this._mark(mark);
    if (clear) this._clear();
    if (close) this.open = false;
  }

  _enqueue(audio) {
    if (this.queued + audio.length > MAX_QUEUED) {
      this.dropped += audio.length;
      return;
    }
    if (!this.playing && this.queued === 0) {
      this.waitingSince = currentTime;
      if (currentTime - this.driedAt < DRY_S) {
        this.dry++;
        this.reserve = Math.min(MAX_RESERVE, this.reserve + MORE_RESERVE);
      }
    }
    this.queue.push({ audio, at: 0 });
    this.queued += audio.length;
  }

  _mark(name) {
    if (this.queue.length) this.queue.push({ mark: name });
    else this.port.postMessage({ marks: [name] });
  }

  _clear() {
    const marks = this.queue.filter((item) => item.mark !== undefined).map((item) => item.mark);
    const lost = this.queued;
    this.queue = [];
    this.queued = 0;
    this.driedAt = -Infinity;
    this._set(false);
    this.port.postMessage({ marks, cleared: lost });
  }

  _set(playing) {
    if (this.playing === playing) return;
    this.playing = playing;
    this.port.postMessage({ playing, played: this.played });
  }

  process(_, [channels]) {
    const [channel] = channels;
    if (!this.playing && this.queued) {
      const last = this.queue[this.queue.length - 1];
      const waited = (currentTime - this.waitingSince) * RATE;
      if (this.queued >= this.reserve || waited >= this.reserve || last.mark !== undefined) this._set(true);
    }
    while (this.ready < channel.length) this._feed();
    channel.set(this.out.subarray(0, channel.length));
    this.out.copyWithin(0, channel.length, this.ready);
    this.ready -= channel.length;
    for (const other of channels.slice(1)) other.set(channel);
    this._report(channel);
    return this.open;
  }

  _feed() {
    let filled = 0;
    while (this.playing && filled < STEP && this.queue.length) {
      const [item] = this.queue;
      if (item.mark !== undefined) {
        this._releaseMarks();
        continue;
      }
      this.marked = false;
      while (filled < STEP && item.at < item.audio.length) this.step[filled++] = decodeFloat(item.audio[item.at++]);
      if (item.at === item.audio.length) this.queue.shift();
    }
    this.queued -= filled;
    this.played += filled;
    this._releaseMarks();
    if (this.playing && !this.queue.length) {
      // After a mark all was said; without one there may have been more on its way.
      this.driedAt = this.marked ? -Infinity : currentTime;
      this._set(false);
    }
    this.step.fill(0, filled);
    this.resampler.push(this.step, this.emit);
  }

  // A mark is due when what is before it was played, not when what is after it begins.
  _releaseMarks() {
    while (this.playing && this.queue.length && this.queue[0].mark !== undefined) {
      this.port.postMessage({ marks: [this.queue.shift().mark] });
      this.marked = true;
    }
  }

  _report(channel) {
    for (const sample of channel) this.peak = Math.max(this.peak, Math.abs(sample));
    if (++this.blocks % REPORT_BLOCKS) return;
    const { queued, played, dropped, dry, reserve, peak } = this;
    this.port.postMessage({ state: { queued, played, dropped, dry, reserve, peak } });
    this.peak = 0;
  }
}

registerProcessor("player", Player);
