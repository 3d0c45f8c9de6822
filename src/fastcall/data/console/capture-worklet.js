// The microphone, as a telephone sends it: mu-law, 8 kHz, in frames of 20 ms, at the pace of the audio clock.
import { SILENCE, encodeFloat } from "./g711.js";
import { Resampler } from "./resample.js";

const FRAME = 160;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(Math.round(sampleRate), 8000);
    this.mono = new Float32Array(128);
    this.frame = new Uint8Array(FRAME);
    this.filled = 0;
    this.peak = 0;
    this.muted = false;
    this.open = true;
    this.port.onmessage = ({ data }) => {
      if (data.muted !== undefined) this.muted = data.muted;
      if (data.close) this.open = false;
    };
    this.emit = (sample) => this._take(sample);
  }

  process([channels]) {
    this._mix(channels);
    this.resampler.push(this.mono, this.emit);
    return this.open;
  }

  // Without a source there is silence: the call's clock goes on.
  _mix(channels) {
    this.mono.fill(0);
    for (const channel of channels) {
      for (let i = 0; i < this.mono.length; i++) this.mono[i] += channel[i] / channels.length;
    }
  }

  _take(sample) {
    this.peak = Math.max(this.peak, this.muted ? 0 : Math.abs(sample));
    this.frame[this.filled++] = this.muted ? SILENCE : encodeFloat(sample);
    if (this.filled < FRAME) return;
    this.port.postMessage({ frame: this.frame, peak: this.peak }, [this.frame.buffer]);
    this.frame = new Uint8Array(FRAME);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
