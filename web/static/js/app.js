// @ts-check
/** The page: what happens (clicks, events, answers) goes into the conversation, and the conversation is drawn. */

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { items, lastQuestion, nothing, reduce } from "./conversation.js";
import { Messages } from "./messages.js";
import { ModelPicker } from "./model-picker.js";
import { Follow } from "./scroll.js";
import { SessionBar } from "./session-bar.js";
import { Stream } from "./stream.js";

/** A hidden tab gives up its connection after a while: over HTTP/1.1 a browser has six for the whole site. */
const HIDDEN_PAUSE = 10_000;
/** Most breaks mend sooner than anyone needs to hear of them. */
const BREAK_SHOWN_AFTER = 2_000;

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

let state = nothing;
let loading = true;
let sending = false;
/** Counts the conversations of this page, so that an answer about an earlier one is not taken for the present. */
let conversation = 0;

/** @param {import("./conversation.js").Action} action */
function dispatch(action) {
  const before = state;
  state = reduce(state, action);
  announceChange(before, state);
  draw();
  if (state.stale && !before.stale && !sending) void sync();
}

// ---- The server's account of the conversation -------------------------------------------------------------

const stream = new Stream("/chat/sse", {
  event({ type, data }) {
    if (type === "expired") return end(data.reason ?? "expired");
    if (type === "reset") stream.close(); // what it sends from here on doesn't follow from what we have
    dispatch(type === "reset" ? { type: "stale" } : { type: "event", event: type, data });
  },
  refused: () => void sync(),
  state: showConnection,
});

let syncing = false;
let syncAgain = false;
/** @type {number | undefined} */ let syncTimer;

/** Fetch the session and its messages, and let the events go on from there. */
async function sync() {
  if (syncing) {
    syncAgain = true;
    return;
  }
  clearTimeout(syncTimer);
  syncing = true;
  do {
    syncAgain = false;
    const asked = conversation;
    stream.hold();
    try {
      const [{ data: session, etag }, { messages, cursor }] = await Promise.all([api.currentSession(), api.transcript()]);
      if (asked !== conversation) continue;
      dispatch({ type: "snapshot", session, etag, messages, sending });
      stream.releaseAfter(cursor);
    } catch (error) {
      if (asked !== conversation) continue;
      stream.release();
      if (isLost(error)) forget(error);
      else syncTimer = setTimeout(sync, 1_000 + Math.random() * 4_000);
    }
  } while (syncAgain);
  syncing = false;
}

/** @param {unknown} error @returns {error is api.Problem} */
const isLost = (error) => error instanceof api.Problem && error.sessionLost;

/** The session is gone. That is news only to a reader who has seen it. @param {api.Problem} error */
function forget(error) {
  if (state.session) end(error.slug);
  else clear();
}

/** @param {string} reason */
function end(reason) {
  stream.close();
  dispatch({
    type: "over",
    reason: reason.includes("expired") ? "Its time ran out." : "It was ended, perhaps in another tab.",
  });
}

function clear() {
  conversation++;
  stream.close();
  dispatch({ type: "clear" });
}

// ---- What the visitor does ---------------------------------------------------------------------------------

/** The question that got no answer at all, and its key: asked again, it must not count twice. */
let unanswered = { text: "", key: "" };

/** @param {string} text */
async function send(text) {
  const key = unanswered.text === text ? unanswered.key : api.newKey();
  unanswered = { text: "", key: "" };
  sending = true;
  say("");
  dispatch({ type: "sending", text });
  follow.toEnd();
  focusComposer(); // the button that was pressed is of no use now
  try {
    await askOrBegin(text, key);
    sending = false;
    await sync();
  } catch (error) {
    sending = false;
    composer.restore(text);
    dispatch({ type: "unsent" });
    if (error instanceof api.Problem && error.status === 0) unanswered = { text, key };
    if (isLost(error) && state.session) return forget(error);
    say(api.plainWords(error));
    // Somebody else's answer is coming, or news came in while this was on its way.
    if (state.stale || (error instanceof api.Problem && error.status === 409)) void sync();
  }
}

/**
 * A page without a session may still carry the cookie of one that ran out, or meet a server that makes
 * no session unasked. Sending a message is asking.
 * @param {string} text @param {string} key
 */
async function askOrBegin(text, key) {
  const model = state.session ? null : picker.current || null;
  try {
    return await api.ask(text, model, key);
  } catch (error) {
    if (state.session || !(error instanceof api.Problem) || error.status !== 401) throw error;
    await api.createSession(picker.current);
    return api.ask(text, null, key);
  }
}

/** @param {string} model */
async function chooseModel(model) {
  say("");
  if (!state.session || state.over) {
    picker.current = model;
    return;
  }
  try {
    const { data, etag } = await api.switchModel(model, state.etag);
    dispatch({ type: "session", session: data, etag });
    announce(`${picker.label(model)} answers from now on`);
  } catch (error) {
    if (isLost(error)) return forget(error);
    if (error instanceof api.Problem && error.status === 412) {
      await sync();
      say(`${api.plainWords(error)} It is ${picker.label(state.session.model)} now; choose again if you want another.`);
    } else {
      say(api.plainWords(error));
    }
  }
}

async function keep() {
  const before = state.session?.expires_at ?? "";
  try {
    const { data, etag } = await api.refreshSession();
    dispatch({ type: "session", session: data, etag });
    const until = new Date(data.expires_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const moved = Date.parse(data.expires_at) - Date.parse(before) > 0;
    announce(moved ? `Kept until ${until}` : `This conversation ends at ${until}`);
  } catch (error) {
    if (isLost(error)) forget(error);
    else say(api.plainWords(error));
  }
}

async function startOver() {
  askBeforeDeleting(false);
  try {
    await api.deleteSession();
  } catch (error) {
    if (!isLost(error)) return say(api.plainWords(error));
  }
  begin();
}

/** On a phone, focus would raise the keyboard over half of the page. */
function focusComposer() {
  if (matchMedia("(pointer: fine)").matches) composer.focus();
}

/** An empty page; the next message makes a session. */
function begin() {
  say("");
  clear();
  announce("New conversation");
  focusComposer();
}

/** @param {boolean} ask */
function askBeforeDeleting(ask) {
  byId("confirm").hidden = !ask;
  byId("new").ariaExpanded = String(ask);
  if (ask) byId("confirm-keep").focus();
}

// ---- What the page shows -----------------------------------------------------------------------------------

const composer = new Composer(
  { form: byId("composer"), field: byId("message"), send: byId("send"), count: byId("count") },
  { send, wait: () => say("An answer is still coming. Wait for its end, then send this.") },
);
const picker = new ModelPicker(byId("model"), chooseModel);
const bar = new SessionBar(
  { bar: byId("session"), expiry: byId("expiry"), keep: byId("keep") },
  { keep, due: () => void sync(), warn: (left) => announce(`This conversation expires in ${left}`) },
);
const messages = new Messages(byId("log"), {
  retry: () => send(lastQuestion(state)),
  copied: (ok) => (ok ? announce("Copied", "Copied") : say("This browser didn’t allow copying.")),
  label: (model) => picker.label(model),
});
const follow = new Follow(byId("scroller"), byId("log"), byId("latest"));

function draw() {
  const shown = items(state);
  messages.show(shown, state.live !== null || state.stale);
  composer.busy = sending || state.live !== null;
  if (state.session && !state.over) picker.current = state.session.model;
  bar.expiresAt = state.over ? null : state.session?.expires_at ?? null;
  byId("empty").hidden = loading || shown.length > 0 || state.over !== null;
  byId("new").hidden = state.over !== null || (shown.length === 0 && !state.session);
  byId("ended").hidden = state.over === null;
  byId("composer").hidden = state.over !== null;
  byId("ended-reason").textContent = `${state.over ?? ""} ${
    composer.text.trim() ? "What you were writing is kept for the next one." : "You can still read it until you leave this page."}`;
}

/** A failed request, beside the message box. @param {string} words */
function say(words) {
  const notice = byId("notice");
  notice.hidden = !words;
  notice.textContent = words;
}

/** @type {number | undefined} */ let toastTimer;

/** For those who listen, and with `toast` also for those who look. @param {string} words @param {string} [toast] */
function announce(words, toast = "") {
  byId("announcer").textContent = words;
  if (!toast) return;
  clearTimeout(toastTimer);
  byId("toast").textContent = toast;
  byId("toast").hidden = false;
  toastTimer = setTimeout(() => { byId("toast").hidden = true; }, 1_500);
}

/** @param {import("./conversation.js").State} before @param {import("./conversation.js").State} now */
function announceChange(before, now) {
  if (now.over && !before.over) announce("This conversation is over");
  else if (now.live?.phase === "answering" && before.live?.phase !== "answering") announce("Answering");
  else if (before.live && !now.live) {
    const last = items(now).at(-1);
    if (last?.state === "failed") announce(`The answer failed. ${last.reason ?? ""}`);
    else if (last?.state === "stopped") announce("Answer stopped");
    else if (last?.role === "assistant") announce("Answer complete");
  }
}

/** @type {number | undefined} */ let breakTimer;

/** @param {boolean} connected */
function showConnection(connected) {
  clearTimeout(breakTimer);
  if (connected) bar.connected = true;
  else breakTimer = setTimeout(() => { bar.connected = false; }, BREAK_SHOWN_AFTER);
}

// ---- Wires -------------------------------------------------------------------------------------------------

for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => send(example.textContent ?? ""));
}
byId("new").addEventListener("click", () => (items(state).length > 0 ? askBeforeDeleting(true) : startOver()));
byId("confirm-delete").addEventListener("click", startOver);
byId("confirm-keep").addEventListener("click", cancelDelete);
byId("confirm").addEventListener("keydown", (event) => {
  if (event.key === "Escape") cancelDelete();
});
byId("restart").addEventListener("click", begin);

function cancelDelete() {
  askBeforeDeleting(false);
  byId("new").focus();
}

/** @type {number | undefined} */ let hiddenTimer;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => stream.pause(), HIDDEN_PAUSE);
  else if (stream.wanted && !stream.connecting) stream.reopen();
});
addEventListener("online", () => {
  if (stream.wanted) stream.reopen();
});

async function loadModels() {
  try {
    const offer = await api.models();
    if (!picker.current) picker.current = offer.default;
    picker.offer(offer.models);
    draw();
  } catch {
    setTimeout(loadModels, 2_000 + Math.random() * 4_000);
  }
}

void loadModels();
if ("hasSession" in document.body.dataset) await sync();
loading = false;
draw();
focusComposer();
