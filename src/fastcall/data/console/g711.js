// G.711 mu-law, 8 kHz (ITU-T G.711), sample for sample as the server's codec does it.

const BIAS = 33;
const CLIP = 8158; // with the bias, the highest value of the highest segment

/** One LINEAR16 sample, -32768 to 32767, as a mu-law byte. */
export function encodeSample(sample) {
  let value = sample >> 2;
  let mask = 0xff;
  if (value < 0) {
    value = -value;
    mask = 0x7f;
  }
  value = Math.min(value, CLIP) + BIAS;
  const segment = 26 - Math.clz32(value); // value has 6 to 14 bits
  return ((segment << 4) | ((value >> (segment + 1)) & 0x0f)) ^ mask;
}

const DECODED = new Int16Array(256);
for (let byte = 0; byte < 256; byte++) {
  const inverted = ~byte & 0xff;
  const magnitude = ((((inverted & 0x0f) << 3) + 132) << ((inverted & 0x70) >> 4)) - 132;
  DECODED[byte] = inverted & 0x80 ? -magnitude : magnitude;
}

/** One mu-law byte as a LINEAR16 sample. */
export function decodeSample(byte) {
  return DECODED[byte];
}

/** A sample from -1 to 1 as a mu-law byte; what is beyond is clipped. */
export function encodeFloat(sample) {
  return encodeSample(Math.max(-32768, Math.min(32767, Math.round(sample * 32768))));
}

/** A mu-law byte as a sample from -1 to 1. */
export function decodeFloat(byte) {
  return DECODED[byte] / 32768;
}

export const SILENCE = 0xff;
