// How one text became another, word by word.

const MAX_WORDS = 200;

/** The words of both, as [kind, word] with kind "same", "gone" or "new", in order of reading. */
export function compareWords(before, after) {
  const old = split(before);
  const now = split(after);
  if (old.length > MAX_WORDS || now.length > MAX_WORDS) return now.map((word) => ["same", word]);
  const common = old.map(() => new Uint8Array(now.length + 1)).concat([new Uint8Array(now.length + 1)]);
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      common[i][j] = old[i] === now[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const steps = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      steps.push(["same", now[j]]);
      i++;
      j++;
    } else if (j === now.length || (i < old.length && common[i + 1][j] >= common[i][j + 1])) {
      steps.push(["gone", old[i++]]);
    } else {
      steps.push(["new", now[j++]]);
    }
  }
  return steps;
}

function split(text) {
  return text.split(/\s+/).filter(Boolean);
}
