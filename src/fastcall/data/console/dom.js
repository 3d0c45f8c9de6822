// Elements without markup in strings: what was said on a telephone never becomes HTML.

/** An element with attributes and children (texts or elements). */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** As `make`, for SVG. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Set a text only if it is another: nothing is laid out anew, nothing is read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** m:ss, or h:mm:ss. */
export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** The end of a call's id: enough to tell calls apart. */
export function shortId(sid) {
  return sid.length > 12 ? `${sid.slice(0, 2)}…${sid.slice(-6)}` : sid;
}

const MAX_WHICH = 24;

/** What a call is called: the end of its id, and which of its streams it is if it is not like most. */
export function nameOf(call) {
  return call.which ? `${shortId(call.sid)} ${call.which.slice(0, MAX_WHICH)}` : shortId(call.sid);
}

/** Calls `work` at most once a frame, and at most every `ms`. */
export function throttle(work, ms = 0) {
  let isDue = false;
  let ranAt = 0;
  return () => {
    if (isDue) return;
    isDue = true;
    const run = () => {
      isDue = false;
      ranAt = performance.now();
      work();
    };
    const wait = ranAt + ms - performance.now();
    if (wait > 0) setTimeout(run, wait);
    else requestAnimationFrame(run);
  };
}
