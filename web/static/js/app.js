// @ts-check
/** The page: what happens (clicks, events, answers) goes into the conversation, and the conversation is drawn. */

import { Account } from "./account/account.js";
import { Announcer } from "./ui/announcer.js";
import * as api from "./api/client.js";
import { ModelAvailability } from "./sessions/model-availability.js";
import { Backoff } from "./stream/backoff.js";
import { Composer } from "./conversation/composer.js";
import { items, lastQuestion, initialState, reduce } from "./conversation/reducer.js";
import { byId } from "./ui/dom.js";
import { focusIsFree } from "./ui/focus.js";
import { MessageList } from "./conversation/message-list.js";
import { ModelChoice } from "./sessions/model-choice.js";
import { ModelPicker } from "./sessions/model-picker.js";
import { announcementOf, endedJustNow } from "./conversation/announcements.js";
import { Notice } from "./ui/notice.js";
import { replay } from "./stream/replay.js";
import { isTransient, errorMessage, describeError } from "./api/error-messages.js";
import { StickToBottom } from "./ui/stick-to-bottom.js";
import { ExpiryBar } from "./sessions/expiry-bar.js";
import { Sidebar } from "./sessions/sidebar.js";
import { SessionStream } from "./stream/session-stream.js";
import { ConfirmBar } from "./ui/confirm-bar.js";

/** A hidden tab gives up its connection after a while: over HTTP/1.1 a browser has six for the whole site. */
const HIDDEN_PAUSE = 10_000;
/** Most breaks mend sooner than anyone needs to hear of them. */
const BREAK_SHOWN_AFTER = 2_000;
/** Most answers begin sooner than anyone could read that there is a queue. */
const WAIT_SHOWN_AFTER = 800;
const EVENTS = "/chat/sse";

let state = initialState;
let loading = true;
let sending = false;
/** Until the server has told which conversation this is, or could not. */
let opening = Promise.resolve();
/** Counts the conversations of this page, so that an answer about an earlier one is not taken for the present. */
let conversation = 0;

/** @param {import("./conversation/reducer.js").Action} action */
function dispatch(action) {
  const before = state;
  state = reduce(state, { ...action, moment: performance.now() });
  if (state.live?.phase !== before.live?.phase || state.live?.generation !== before.live?.generation) watchQueue();
  announceChange(announcementOf(before, state, label));
  if (endedJustNow(before, state)?.state === "failed") void availability.refresh(); // its model may rest now
  draw();
  if (isQuiet()) for (const go of waiting.splice(0)) go();
  if (state.stale && !before.stale && !sending) void sync();
}

/** @type {(() => void)[]} */ const waiting = [];
const isQuiet = () => !sending && state.live === null;

/** @returns {Promise<void>} when no answer is being written */
const quiet = () => (isQuiet() ? Promise.resolve() : new Promise((go) => waiting.push(go)));

// ---- The server's account of the conversation -------------------------------------------------------------

const stream = new SessionStream(EVENTS, api.sessionHeaders, {
  event({ type, data }) {
    if (type === "expired") return void ended(data.reason ?? "expired");
    if (type === "reset") stream.close(); // what it sends from here on doesn't follow from what we have
    dispatch(type === "reset" ? { type: "stale" } : { type: "event", event: type, data });
  },
  refused() {
    if (!syncTimer) void sync();
  },
  state(connected) {
    showConnection(connected);
    if (connected && syncTimer) void sync();
  },
});

/** @type {Promise<void> | null} */ let syncing = null;
let syncAgain = false;
/** @type {number | undefined} */ let syncTimer;
const syncBackoff = new Backoff();
/** Whether there may be a session that the server has not told of yet. */
const unheard = () => syncing !== null || syncTimer !== undefined;

/** Fetch the session and its messages, and let the events go on from there. @returns {Promise<void>} */
function sync() {
  if (syncing) syncAgain = true;
  syncing ??= catchUp();
  return syncing;
}

async function catchUp() {
  clearTimeout(syncTimer);
  syncTimer = undefined;
  do {
    syncAgain = false;
    const asked = conversation;
    stream.hold();
    try {
      const [{ data: session, etag }, { messages, cursor, before }] = await Promise.all([api.currentSession(), api.transcript()]);
      if (asked !== conversation) continue;
      api.useSession(session);
      const followed = await stream.receivedUpTo(cursor);
      const heard = followed ?? (cursor ? await missed(cursor, messages.at(-1)) : []);
      if (asked !== conversation) continue;
      stream.resumeAfter(cursor);
      dispatch({ type: "snapshot", session, etag, messages, earlier: before, sending, heard, anew: followed === null });
      stream.release();
      syncBackoff.reset();
      account.noticed();
      void choice.settle(); // what was chosen before there was a session to switch
      if (account.user) sidebar.notice(messages.length > 0);
    } catch (error) {
      if (asked !== conversation) continue;
      stream.release();
      if (isLost(error)) await forget(error);
      else syncTimer = setTimeout(sync, syncBackoff.next());
    }
  } while (syncAgain);
  syncing = null;
}

/**
 * The events that this page has missed of an answer that is coming, or of whose end it should tell the reader.
 * @param {string} cursor @param {api.Message | undefined} last @returns {Promise<{type: string, data: any}[]>}
 */
async function missed(cursor, last) {
  const live = last?.state === "streaming";
  const asked = state.pending !== null; // so it has only just begun, and may have ended since
  if (!live && !asked && (last?.state !== "failed" || last.problem) && state.live?.generation !== last?.id) return [];
  return replay(EVENTS, api.sessionHeaders(), cursor, live && !asked);
}

/** @param {unknown} error @returns {error is api.Problem} */
const isLost = (error) => error instanceof api.Problem && error.sessionLost;

/** Put the page of words before the first one on screen, and leave the reader where they are. */
async function showEarlier() {
  const asked = conversation;
  const { earlier: before } = state;
  const button = byId("earlier");
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true"; // a button that is disabled altogether would throw the focus away
  try {
    const page = await api.transcript(before);
    if (asked !== conversation) return;
    stickToBottom.keepPlace(() => dispatch({ type: "earlier", before, messages: page.messages, earlier: page.before }));
    announce(page.before ? "Earlier messages are shown" : "All messages are shown");
    if (!page.before && focusIsFree(button)) byId("scroller").focus({ preventScroll: true }); // the button is gone
  } catch (error) {
    if (asked !== conversation) return;
    if (isLost(error)) await forget(error);
    else complain(error);
  } finally {
    button.ariaDisabled = "false";
  }
}

/** The session is gone. That is news only to a reader who has seen it. @param {api.Problem} error */
async function forget(error) {
  const asked = conversation;
  if (await account.explains(error)) {
    // What was an anonymous visitor's is one's still.
    if (asked === conversation && state.session) void sync();
  } else if (asked === conversation) {
    if (state.session) end(error.slug);
    else clear();
  }
}

/** The stream is at its end. For a user, that may also be the end of the login. @param {string} reason */
async function ended(reason) {
  stream.close();
  if (account.user && reason === "expired") {
    const asked = conversation;
    await account.find();
    // A login may end and be another at once, as with a new password: then only this stream was over.
    if (asked === conversation) void sync();
    return;
  }
  end(reason);
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
  api.useSession(null);
  choice.drop();
  dispatch({ type: "clear" });
}

// ---- What the visitor does ---------------------------------------------------------------------------------

/** The question that got no answer at all, and its key: asked again, it must not count twice. */
let unanswered = { text: "", key: "" };

/**
 * The question goes to the model that the picker shows: once that has been switched to or, where it can't be, not at
 * all. Both waits end, for their requests do.
 * @param {string} text
 */
async function send(text) {
  const key = unanswered.text === text ? unanswered.key : api.newKey();
  unanswered = { text: "", key: "" };
  sending = true;
  notify("");
  dispatch({ type: "sending", text });
  stickToBottom.toEnd();
  composer.focus(); // the button that was pressed is of no use now
  try {
    await opening;
    if (!(await choice.settle())) return unsent(text);
    await askOrBegin(text, key);
    sending = false;
    await sync();
  } catch (error) {
    unsent(text);
    if (error instanceof api.Problem && mayHaveArrived(error)) unanswered = { text, key };
    if (isLost(error) && (state.session || error.slug.startsWith("login-"))) return forget(error);
    complain(error);
    // Somebody else's answer is coming, or news came in while this was on its way.
    if (state.stale || (error instanceof api.Problem && error.status === 409)) void sync();
  }
}

/** @param {string} text */
function unsent(text) {
  sending = false;
  composer.restore(text);
  dispatch({ type: "unsent" });
  void choice.settle();
}

/**
 * Whether the server may have done it all the same: it has not answered, or a proxy did in its place.
 * @param {api.Problem} error
 */
const mayHaveArrived = ({ status, slug }) => status === 0 || (status >= 500 && !slug) || slug === "idempotency-in-flight";

/** Stop the answer; the event `stopped` then says where it ended. */
async function stop() {
  try {
    await api.stop();
  } catch (error) {
    // It has ended by itself meanwhile, or the request failed: either way the server knows how things are.
    if (!(error instanceof api.Problem && error.status === 409)) complain(error);
    void sync();
  }
}

/**
 * A page without a session may still carry the cookie of one that ran out, or meet a server that makes
 * no session unasked. Sending a message is asking.
 * @param {string} text @param {string} key
 */
async function askOrBegin(text, key) {
  if (account.user && !state.session && !unheard()) await createOwned(); // the cookie may be that of the conversation before
  const model = state.session ? null : unheard() ? choice.shown : picker.current || null;
  try {
    return await api.ask(text, model, key);
  } catch (error) {
    if (state.session || !isLost(error) || error.slug === "login-invalid") throw error;
    await api.createSession(picker.current);
    return api.ask(text, null, key);
  }
}

async function createOwned() {
  const { data: session, etag } = await api.createSession(picker.current);
  // Nobody's, though somebody sits here: they have signed out in another tab.
  if (session.anonymous) throw new api.Problem({ status: 401, type: "/problems/login-required" });
  api.useSession(session);
  dispatch({ type: "session", session, etag });
}

/** @param {string} model */
function chooseModel(model) {
  const toCome = loading || sending || unheard(); // then it will have a model of its own
  if (state.over || (!state.session && !toCome)) picker.current = model;
  else choice.choose(model);
}

/** @param {string} model @returns {Promise<boolean>} whether it answers from now on */
async function switchTo(model) {
  const asked = conversation;
  notify("");
  try {
    const { data, etag } = await api.switchModel(model, state.etag);
    if (asked !== conversation) return false;
    dispatch({ type: "session", session: data, etag });
    announce(`${picker.label(model)} answers from now on`);
    return true;
  } catch (error) {
    if (asked !== conversation) return false;
    if (isLost(error)) await forget(error);
    else if (error instanceof api.Problem && error.status === 412) return missedSwitch(model, error);
    else complain(error);
    return false;
  }
}

/** Something else was switched to first; it may be the same. @param {string} model @param {api.Problem} error */
async function missedSwitch(model, error) {
  const asked = conversation;
  await sync();
  if (asked !== conversation || !state.session) return false;
  const now = state.session.model;
  if (now !== model) notify(`${errorMessage(error)} It is ${picker.label(now)} now; choose again if you want another.`);
  return now === model;
}

async function keep() {
  const before = state.session?.expires_at ?? "";
  try {
    const { data, etag } = await api.refreshSession();
    dispatch({ type: "session", session: data, etag });
    const until = untilWhen(data.expires_at);
    const moved = Date.parse(data.expires_at) - Date.parse(before) > 0;
    announce(moved ? `Kept until ${until}` : `This conversation ends at ${until}`);
  } catch (error) {
    if (isLost(error)) forget(error);
    else complain(error);
  }
}

/** @param {string} at */
function untilWhen(at) {
  const far = Date.parse(at) - api.serverNow() > 86_400_000;
  return far ? new Date(at).toLocaleDateString("en", { day: "numeric", month: "long" })
    : new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** A user's conversation stays in the list; anybody else's is gone when a new one begins. */
async function startNew() {
  if (state.session && !state.session.anonymous) return begin();
  if (deletion.asking) return deletion.dismiss();
  if (items(state).length > 0) {
    byId("new").ariaExpanded = "true";
    const answer = await deletion.ask(byId("confirm-keep"));
    byId("new").ariaExpanded = "false";
    if (!answer) return focusIsFree() && byId("new").focus();
  }
  try {
    await api.deleteSession();
  } catch (error) {
    if (!isLost(error)) return complain(error);
  }
  begin();
}

/** Put another of the user's conversations on screen. @param {string} id */
async function turnTo(id) {
  const { data: session } = await api.openSession(id);
  notify("");
  clear();
  api.useSession(session);
  if (focusIsFree(byId("panel"), byId("panel-open"))) composer.focus();
  await open(sync);
  stickToBottom.toEnd();
}

/** @param {() => Promise<void>} find which conversation this is */
async function open(find) {
  loading = true;
  opening = find().finally(() => { loading = false; });
  await opening;
  draw();
}

/** Delete one of them, on screen or not. @param {string} id */
async function remove(id) {
  const shown = ownSession();
  if (id === shown) stream.close(); // this page need not hear that it is over
  try {
    await api.deleteListed(id);
  } catch (error) {
    if (!(error instanceof api.Problem) || !/^session-(invalid|expired)$/.test(error.slug)) {
      if (id === shown) void sync();
      throw error;
    }
  }
  if (id === shown) begin();
}

/** The id of the user's session on screen, if it is a user's. */
const ownSession = () => (state.session && !state.session.anonymous && !state.over ? state.session.session_id : null);

/** An empty page; the next message makes a session. */
function begin() {
  notify("");
  clear();
  announce("New conversation");
  if (focusIsFree(byId("new"), byId("panel"))) composer.focus();
}

// ---- What the page shows -----------------------------------------------------------------------------------

const composer = new Composer(
  { form: byId("composer"), field: byId("message"), send: byId("send"), stop: byId("stop"), count: byId("count") },
  { send, stop, wait: () => notify("An answer is still coming. Wait for its end, then send this.") },
);
const announcer = new Announcer(byId("announcer"));
const notice = new Notice(byId("notice"), () => announce("You can try again now"));
/** @param {string} model */
const label = (model) => picker.label(model);
const picker = new ModelPicker(byId("model"), chooseModel, () => void availability.refresh());
const choice = new ModelChoice({
  session: () => (state.over ? null : state.session),
  asking: () => sending,
  switch: switchTo,
  changed: () => draw(),
});
const availability = new ModelAvailability(api.models, (offer) => {
  if (!picker.current) picker.current = offer.default;
  picker.offer(offer.models);
  draw();
});
const bar = new ExpiryBar(
  { bar: byId("session"), expiry: byId("expiry"), keep: byId("keep") },
  { keep, due: () => void sync(), warn: (left) => announce(`This conversation expires in ${left}`) },
);
const messageList = new MessageList(byId("log"), {
  retry: () => send(lastQuestion(state)),
  continue: () => send("Continue."),
  toggling: () => stickToBottom.stay(),
  copied: (ok) => (ok ? announce("Copied", "Copied") : notify("This browser didn’t allow copying.")),
  label,
});
const stickToBottom = new StickToBottom(byId("scroller"), byId("log"), byId("latest"));
const deletion = new ConfirmBar(byId("confirm"), byId("confirm-delete"), byId("confirm-keep"));
const account = new Account({
  session: () => state.session,
  hasWords: () => items(state).length > 0 && !state.over,
  quiet,
  claimed(session, etag) {
    api.useSession(session);
    dispatch({ type: "session", session, etag });
    stream.reopen(); // after the last event seen, and as the user
    void sync();
  },
  changed() {
    deletion.dismiss();
    if (account.user) void sidebar.refresh();
    else sidebar.clear();
    draw();
  },
  leave: clear,
  notify,
  announce,
  focus: () => { if (focusIsFree()) composer.focus(); },
});
const sidebar = new Sidebar({
  current: ownSession,
  mayLeave: () => account.mayLeave(),
  open: turnTo,
  remove,
  failed(error) {
    if (!account.ended(error)) complain(error);
  },
  announce,
});

function draw() {
  const shown = items(state);
  messageList.show(shown, state.live !== null || state.stale);
  composer.busy = sending || state.live !== null;
  composer.stoppable = !sending && state.live !== null;
  const model = choice.shown ?? (state.over ? null : state.session?.model);
  if (model) picker.current = model;
  bar.expiresAt = state.over ? null : state.session?.expires_at ?? null;
  byId("earlier").hidden = state.earlier === null;
  byId("empty").hidden = loading || shown.length > 0 || state.over !== null;
  byId("new").hidden = state.over !== null || (shown.length === 0 && !state.session);
  byId("ended").hidden = state.over === null;
  byId("composer").hidden = state.over !== null;
  sidebar.mark();
  byId("ended-reason").textContent = `${state.over ?? ""} ${
    composer.text.trim() ? "What you were writing is kept for the next one." : "You can still read it until you leave this page."}`;
}

/** A failed request, beside the message box. @param {string} words */
function notify(words) {
  notice.show(words);
}

/** @param {unknown} error */
function complain(error) {
  if (isTransient(error) && error.retryAfter) notice.show(describeError(error), error.retryAfter);
  else notice.show(errorMessage(error));
}

/** @type {number | undefined} */ let toastTimer;

/** For those who listen, and with `toast` also for those who look. @param {string} words @param {string} [toast] */
function announce(words, toast = "") {
  announcer.announce(words);
  if (!toast) return;
  clearTimeout(toastTimer);
  byId("toast").textContent = toast;
  byId("toast").hidden = false;
  toastTimer = setTimeout(() => { byId("toast").hidden = true; }, 1_500);
}

/** @param {import("./conversation/announcements.js").Announcement | null} told */
function announceChange(told) {
  if (told?.changing) announcer.update(told.words);
  else if (told) announce(told.words);
}

/** @type {number | undefined} */ let queueTimer;

/** A wait that has just begun is only shown when it is more than a moment. */
function watchQueue() {
  clearTimeout(queueTimer);
  if (state.live?.phase === "queued") queueTimer = setTimeout(() => dispatch({ type: "waits" }), WAIT_SHOWN_AFTER);
}

/** @type {number | undefined} */ let breakTimer;

/** @param {boolean} connected */
function showConnection(connected) {
  if (!connected) {
    breakTimer ??= setTimeout(() => { bar.connected = false; }, BREAK_SHOWN_AFTER);
    return;
  }
  clearTimeout(breakTimer);
  breakTimer = undefined;
  bar.connected = true;
}

// ---- Wires -------------------------------------------------------------------------------------------------

for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => send(example.textContent ?? ""));
}
byId("new").addEventListener("click", startNew);
byId("earlier").addEventListener("click", showEarlier);
byId("restart").addEventListener("click", begin);

/** @type {number | undefined} */ let hiddenTimer;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => stream.pause(), HIDDEN_PAUSE);
  else if (stream.wanted && !stream.connecting) stream.reopen();
});
addEventListener("online", () => {
  if (stream.wanted) stream.reopen();
});

void availability.refresh();
await open(async () => {
  if ("hasLogin" in document.body.dataset) await account.find();
  if ("hasSession" in document.body.dataset) await sync();
});
if (focusIsFree()) composer.focus();
