// From one sampling rate to another by a windowed sinc in polyphase form: exact for any two whole rates, no drift.
// What would alias is down by 80 dB; flat up to 85 % of half the lower rate (3.4 kHz for a telephone).

const STOPBAND_DB = 80;
const PASSBAND = 0.85;
const KAISER_BETA = 0.1102 * (STOPBAND_DB - 8.7);

function gcd(a, b) {
  while (b) [a, b] = [b, a % b];
  return a;
}

function bessel0(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function kaiser(at) {
  return Math.abs(at) >= 1 ? 0 : bessel0(KAISER_BETA * Math.sqrt(1 - at * at)) / bessel0(KAISER_BETA);
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** A stream of samples at one rate becomes one at another. Rates are whole numbers of Hz. */
export class Resampler {
  constructor(inRate, outRate) {
    const common = gcd(inRate, outRate);
    this.up = outRate / common;
    this.down = inRate / common;
    const half = Math.min(inRate, outRate) / 2;
    const transition = ((1 - PASSBAND) * half) / inRate; // of the input's rate
    const length = (STOPBAND_DB - 8) / (2.285 * 2 * Math.PI * transition);
    this.taps = 2 * Math.ceil(length / 2);
    this.half = this.taps / 2;
    this.phases = this._design((((1 + PASSBAND) / 2) * half) / inRate);
    this.buffer = new Float32Array(Math.max(8192, 4 * this.taps));
    this.filled = this.half - 1; // silence before the first sample
    this.at = this.half - 1;
    this.phase = 0;
  }

  _design(cutoff) {
    const phases = [];
    for (let phase = 0; phase < this.up; phase++) {
      const row = new Float32Array(this.taps);
      let sum = 0;
      for (let tap = 0; tap < this.taps; tap++) {
        const distance = phase / this.up - (tap - this.half + 1);
        row[tap] = sinc(2 * cutoff * distance) * kaiser(distance / this.half);
        sum += row[tap];
      }
      for (let tap = 0; tap < this.taps; tap++) row[tap] /= sum;
      phases.push(row);
    }
    return phases;
  }

  /** Take samples, and hand each one that they complete to `emit`. */
  push(samples, emit) {
    for (let from = 0; from < samples.length; from += 4096) {
      this._append(samples.subarray(from, from + 4096));
      while (this.at + this.half < this.filled) {
        emit(this._sample());
        this.phase += this.down;
        this.at += Math.floor(this.phase / this.up);
        this.phase %= this.up;
      }
    }
  }

  _append(samples) {
    if (this.filled + samples.length > this.buffer.length) {
      const from = Math.min(this.filled, this.at - this.half + 1);
      this.buffer.copyWithin(0, from, this.filled);
      this.filled -= from;
      this.at -= from;
    }
    this.buffer.set(samples, this.filled);
    this.filled += samples.length;
  }

  _sample() {
    const row = this.phases[this.phase];
    const from = this.at - this.half + 1;
    let sum = 0;
    for (let tap = 0; tap < this.taps; tap++) sum += row[tap] * this.buffer[from + tap];
    return sum;
  }
}
