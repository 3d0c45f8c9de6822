// Who asks. The token is kept for this tab only and travels in a header that no other site's page can send.

const KEY = "fastcall-admin-token";

/** Where the server's paths begin: a proxy may have put one before them. */
export const BASE = new URL("../", document.baseURI);

let asked = null;
const dialog = () => document.getElementById("login");

/** `fetch` with the token; asks for one when it is needed. `path` is relative to the server. */
export async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...(options.headers ?? {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const answer = await fetch(new URL(path, BASE), { cache: "no-store", credentials: "omit", ...options, headers });
    if (answer.status !== 401) return answer;
    if (sessionStorage.getItem(KEY) === token) sessionStorage.removeItem(KEY);
    await askForToken(token !== null);
  }
}

/** Resolves when the server lets us in. */
export async function enter() {
  const answer = await request("console/calls");
  if (!answer.ok) throw new Error(`the server answers ${answer.status}: ${await reasonOf(answer)}`);
  document.getElementById("leave").hidden = sessionStorage.getItem(KEY) === null;
}

/** Forget the token. */
export function leave() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

/** What an answer says went wrong. */
export async function reasonOf(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.trim();
  }
}

function askForToken(wasWrong) {
  asked ??= new Promise((resolve) => {
    const form = dialog().querySelector("form");
    const field = form.elements.token;
    document.getElementById("login-error").textContent = wasWrong ? "That is not the token of this server." : "";
    field.setAttribute("aria-invalid", String(wasWrong));
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        sessionStorage.setItem(KEY, field.value.trim());
        field.value = "";
        dialog().close();
        asked = null;
        resolve();
      },
      { once: true },
    );
    dialog().addEventListener("cancel", (event) => event.preventDefault());
    dialog().showModal();
    field.focus();
  });
  return asked;
}
