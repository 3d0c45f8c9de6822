// The server's live streams: lines of JSON, for as long as the page is open.
import { request } from "./access.js";

const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 5000;
const MAX_LINE_CHARS = 1 << 20;

/** Hand each object of the stream at `path` to `take`, and come back after each break until `signal` aborts. */
export async function follow(path, { take, tell = () => {}, signal }) {
  let pauseMs = FIRST_PAUSE_MS;
  while (!signal?.aborted) {
    try {
      const answer = await request(path, { signal });
      if (answer.ok) {
        tell("live");
        pauseMs = FIRST_PAUSE_MS;
        await readLines(answer.body, take);
      }
      tell(answer.status === 503 ? "full" : "lost");
    } catch (error) {
      if (signal?.aborted) return;
      console.debug("the stream broke", error);
      tell("lost");
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
  }
}

async function readLines(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (rest.length > MAX_LINE_CHARS) throw new Error("a line without end");
    for (const line of lines) takeLine(line, take);
  }
}

// One line that is not understood costs that line only.
function takeLine(line, take) {
  let event;
  try {
    event = JSON.parse(line);
  } catch {
    console.warn("no JSON:", line.slice(0, 100));
    return;
  }
  if (event !== null && typeof event === "object") take(event);
}
