// The server's numbers, asked for every two seconds; latencies are those of the last half minute.
import { request } from "./access.js";
import { Ring } from "./model.js";

const EVERY_MS = 2000;
const KEEP = 300; // ten minutes
const WINDOW = 15; // samples that a latency is taken over

/** A page in Prometheus' text format: plain samples by name, buckets by histogram. */
export function parse(text) {
  const values = new Map();
  const buckets = new Map();
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const end = line.lastIndexOf(" ");
    const value = Number(line.slice(end + 1));
    const [, name, bound] = line.slice(0, end).match(/^([^{]+?)(?:_bucket\{le="([^"]+)"\})?$/) ?? [null, line.slice(0, end)];
    if (bound === undefined) values.set(name, value);
    else buckets.set(name, [...(buckets.get(name) ?? []), [bound === "+Inf" ? Infinity : Number(bound), value]]);
  }
  return { values, buckets };
}

/** The value below which the share `q` of what was counted between two samples lies; null if nothing was. */
export function quantile(before, after, q) {
  const counts = after.map(([bound, count], index) => [bound, count - (before?.[index]?.[1] ?? 0)]);
  const total = counts.length ? counts[counts.length - 1][1] : 0;
  if (total <= 0) return null;
  const wanted = q * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= wanted) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (wanted - below)) / Math.max(1, count - below);
    }
    [lower, below] = [bound, count];
  }
  return lower;
}

export class Numbers {
  constructor(onsample) {
    this.samples = new Ring(KEEP);
    this.onsample = onsample;
    this.error = "";
  }

  async run() {
    for (;;) {
      try {
        const answer = await request("metrics");
        if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
        this.samples.push({ at: Date.now(), ...parse(await answer.text()) });
        this.error = "";
      } catch (error) {
        this.error = error.message;
      }
      this.onsample(this);
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  /** The newest value of a counter or gauge; null while there is none. */
  value(name) {
    return this.samples.last?.values.get(`fastcall_${name}`) ?? null;
  }

  /** [time, value] of a gauge over all samples, times `scale`. */
  gauge(name, scale = 1) {
    return this.samples.items.map(({ at, values }) => [at, (values.get(`fastcall_${name}`) ?? 0) * scale]);
  }

  /** [time, quantile in ms] of a histogram over all samples; null where nothing was counted. */
  latency(name, q) {
    const items = this.samples.items;
    return items.map(({ at, buckets }, index) => {
      const before = items[Math.max(0, index - WINDOW)];
      const value = index ? quantile(before.buckets.get(`fastcall_${name}`), buckets.get(`fastcall_${name}`) ?? [], q) : null;
      return [at, value === null ? null : value * 1000];
    });
  }

  /** [time, events a second] of a counter, or of a histogram's count. */
  rate(name) {
    const items = this.samples.items;
    return items.map(({ at, values }, index) => {
      if (!index) return [at, null];
      const before = items[index - 1];
      const more = (values.get(`fastcall_${name}`) ?? 0) - (before.values.get(`fastcall_${name}`) ?? 0);
      return [at, Math.max(0, (more * 1000) / (at - before.at))];
    });
  }
}
