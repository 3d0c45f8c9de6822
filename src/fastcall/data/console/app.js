// The console, put together.
import { enter, leave, request } from "./access.js";
import { CallList } from "./calls.js";
import { clock, nameOf, setText, throttle } from "./dom.js";
import { follow } from "./feed.js";
import { Numbers } from "./metrics.js";
import { Model } from "./model.js";
import { Plots } from "./plots.js";
import { Talk } from "./talk.js";
import { setUpTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const RECONCILE_MS = 5000;

const model = new Model();
const timeline = new Timeline();
const transcript = new Transcript();
const plots = new Plots();
const list = new CallList(model, choose);
const talk = new Talk({
  onplaying: (id, playing) => model.playedHere(id, playing),
  onlive: (id, sid) => choose(id, sid),
  colours: () => timeline.colours,
});
let chosen = null;
let watching = null;

const showList = throttle(() => list.show(), 250);
const showCall = throttle(() => {
  const call = model.calls.get(chosen) ?? null;
  showHead(call);
  transcript.show(call);
  timeline.show(call);
});

/** Show the call `id`; `sid` is what the telephone network calls it, and may be of other streams as well. */
function choose(id, sid = model.calls.get(id).sid) {
  chosen = id;
  list.chosen = id;
  watching?.abort();
  watching = new AbortController();
  const path = `console/batches?call=${encodeURIComponent(sid)}`;
  follow(path, { take: (event) => model.takeBatch(event), signal: watching.signal });
  showList();
  showCall();
}

function showHead(call) {
  document.getElementById("call").dataset.empty = String(!call);
  if (!call) return;
  setText(document.getElementById("call-title"), nameOf(call));
  document.getElementById("call-title").title = call.sid;
  const state = call.isLive ? (call.speaking ? "speaking" : "live") : "ended";
  document.getElementById("call").dataset.state = state;
  const facts = [clock(call.timeAt(Date.now())), { speaking: "someone speaks", live: "live", ended: "ended" }[state]];
  if (call.source) facts.push(`heard by ${call.source}`);
  if (call.lastResponseMs !== undefined) facts.push(`answered in ${call.lastResponseMs} ms`);
  if (!call.isWhole) facts.push("began before this page");
  setText(document.getElementById("call-facts"), facts.join(" · "));
}

model.onchange = (call) => {
  if (call && !model.calls.has(chosen)) choose(call.id);
  // Who does not look at a call of the past sees the next one that comes.
  else if (call && !model.calls.get(chosen).isLive && call.id !== chosen && call.version === 1) choose(call.id);
  showList();
  if (!call || call.id === chosen) showCall();
};

function showLink(state) {
  const texts = { live: "live", lost: "no connection, retrying", full: "too many readers, retrying" };
  document.getElementById("link").dataset.state = state;
  setText(document.getElementById("link-text"), texts[state]);
}

function showNumbers(numbers) {
  plots.show(numbers);
  const live = numbers.value("calls_live");
  setText(document.getElementById("live-count"), live === null ? "–" : String(live));
  setText(document.getElementById("numbers-error"), numbers.error ? `No numbers: ${numbers.error}` : "");
}

async function reconcile() {
  for (;;) {
    try {
      const answer = await request("console/calls");
      if (answer.ok) model.reconcile((await answer.json()).live);
    } catch (error) {
      console.debug("the list of calls did not come", error);
    }
    await new Promise((resolve) => setTimeout(resolve, RECONCILE_MS));
  }
}

async function main() {
  setUpTheme(() => {
    timeline.recolour();
    timeline.draw();
  });
  document.getElementById("leave").addEventListener("click", leave);
  document.getElementById("talk-instead").addEventListener("click", () => talk.toggle());
  new ResizeObserver(() => timeline.draw()).observe(timeline.canvas);
  const tick = () => {
    if (document.hidden) return;
    list.show();
    showHead(model.calls.get(chosen) ?? null);
  };
  setInterval(tick, 500);
  const animate = () => {
    const call = model.calls.get(chosen);
    if (call?.isLive) timeline.draw();
    requestAnimationFrame(animate);
  };
  requestAnimationFrame(animate);
  try {
    await enter();
  } catch (error) {
    showLink("lost");
    setText(document.getElementById("link-text"), error.message);
    return;
  }
  follow("events", { take: (event) => model.take(event), tell: showLink });
  new Numbers(showNumbers).run();
  reconcile();
}

// For tests in a browser, and for whoever is curious in its console.
window.fastcall = { model, talk, choose };
main();
