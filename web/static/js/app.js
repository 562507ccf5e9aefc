/** Starts the page: makes its parts and connects them. What happens goes into the store, and its state is rendered. */

import { Account } from "./account/account.js";
import { ApiClient } from "./api/client.js";
import { announceChanges, endedJustNow } from "./conversation/announcements.js";
import { Composer } from "./conversation/composer.js";
import { Drafts } from "./conversation/drafts.js";
import { EarlierMessages } from "./conversation/earlier-messages.js";
import { MessageList } from "./conversation/message-list.js";
import { ModelMenu } from "./conversation/model-menu.js";
import { Questions } from "./conversation/questions.js";
import { showLongWaits } from "./conversation/queue-wait.js";
import { items, ownedSessionId } from "./conversation/reducer.js";
import { Store } from "./conversation/store.js";
import { Sync } from "./conversation/sync.js";
import { ConversationView } from "./conversation/view.js";
import { WaitingQuestions } from "./conversation/waiting-questions.js";
import { Address } from "./sessions/address.js";
import { CurrentSession } from "./sessions/current-session.js";
import { ExpiryBar } from "./sessions/expiry-bar.js";
import { ModelAvailability } from "./sessions/model-availability.js";
import { ModelPicker } from "./sessions/model-picker.js";
import { ModelSwitcher } from "./sessions/model-switcher.js";
import { NewConversation } from "./sessions/new-conversation.js";
import { PageTitle } from "./sessions/page-title.js";
import { Sidebar } from "./sessions/sidebar.js";
import { wantsNotifications } from "./settings/preferences.js";
import { EarlySettings } from "./settings/early-settings.js";
import { SettingsDialog } from "./settings/settings-dialog.js";
import { listenForShortcuts } from "./settings/shortcuts.js";
import { pauseWhileHidden } from "./stream/pause-while-hidden.js";
import { byId } from "./ui/dom.js";
import { focusIsFree } from "./ui/focus.js";
import { NextFrame } from "./ui/frames.js";
import { Notifications } from "./ui/notifications.js";
import { StickToBottom } from "./ui/stick-to-bottom.js";
import { t } from "./ui/strings.js";

const store = new Store();
const api = new ApiClient(document.body.dataset.root);
const notifications = new Notifications(() => {
  const { session, endReason } = store.state;
  return (session && !endReason) || sync.unsettled ? sync.answered() : undefined;
});
const address = new Address(document.body.dataset.root ?? "", {
  moved: () => void session.show(async () => account.user !== null),
  left: () => showDraft(),
  renamed: () => keepDraft(),
});
const early = new EarlySettings();
const drafts = new Drafts(() => localStorage, Date.now);
/** What was in the message box when a login ended. */
let unsent = { of: "", text: "" };
const title = new PageTitle(byId("icon", HTMLLinkElement));
const stickToBottom = new StickToBottom(byId("scroller"), byId("log"), byId("latest", HTMLButtonElement));

/** @param {...(Element | null)} from what a request came from, if the focus may be taken from it */
const focusComposer = (...from) => { if (focusIsFree(...from)) composer.focus(); };

const picker = new ModelPicker(byId("model", HTMLSelectElement), (model) => models.choose(model), () => void availability.refresh());
/** @param {string} model */
const label = (model) => picker.label(model);

const availability = new ModelAvailability(() => api.models(), (offer) => {
  if (!picker.current) picker.current = offer.default;
  picker.offer(offer.models);
  render();
});

const account = new Account({
  api,
  session: () => store.state.session,
  hasMessages: () => items(store.state).length > 0 && !store.state.endReason,
  idle: () => store.idle(),
  claimed(claimed, etag) {
    session.adopt(claimed, etag);
    sync.stream.reopen(); // after the last event seen, and as the user
    void sync.refresh();
  },
  changed(gone) {
    newConversation.dismiss();
    if (gone) putAway(gone);
    else if (unsent.of === account.user?.user_id) giveBack();
    if (account.user) void sidebar.open();
    else sidebar.clear();
    if (account.user && store.state.missing) void session.show(async () => true);
    render();
  },
  leave() {
    session.clear();
    address.replace(null);
  },
  focus: focusComposer,
  notifications,
});

const sync = new Sync(store, {
  api,
  expected: () => address.id,
  synced(hasMessages) {
    account.sessionChanged();
    void models.settle(); // what was chosen before there was a session to switch
    session.settle().catch((error) => session.failed(error)); // and what was set while the first question was on its way
    if (account.user) sidebar.sessionChanged(hasMessages);
  },
  lost: (error) => session.lost(error),
  expired: (reason) => void session.expired(reason),
  connection: (connected) => { expiryBar.connected = connected; },
});

const models = new ModelSwitcher(store, {
  api, picker, notifications, sync, failed: (error) => session.failed(error), changed: () => render(),
});

const session = new CurrentSession(
  store, { api, address, sync, account, notifications, models, early }, document.body.dataset.guestSession ?? null);

const composer = new Composer(
  {
    form: byId("composer", HTMLFormElement), field: byId("message", HTMLTextAreaElement),
    send: byId("send", HTMLButtonElement), stop: byId("stop", HTMLButtonElement), count: byId("count"),
    hint: byId("hint"),
  },
  {
    send: (text) => questions.send(text),
    stop: () => questions.stop(),
    editLast() {
      const { pending, queueing } = store.state;
      if (pending !== null || queueing !== null) return; // the last one is still on its way
      if (!waiting.editLast()) messageList.editLast();
    },
    written: (text) => drafts.write(address.id, text),
  },
);

const waiting = new WaitingQuestions(byId("waiting"), store, {
  api, composer, notifications, failed: (error) => session.failed(error),
});

const questions = new Questions(store, {
  api, sync, session, models, early, notifications, composer, waiting, stickToBottom, signedIn: () => account.user !== null,
});

const modelMenu = new ModelMenu(byId("model-menu"), () => picker.models);

const newConversation = new NewConversation(store, { api, session, address, notifications, composer });

const messageList = new MessageList(byId("log"), {
  again: (answer) => void questions.again(answer),
  againWith: (answer, anchor) => modelMenu.open(anchor, (model) => void questions.again(answer, model)),
  goOn: (answer) => void questions.goOn(answer),
  edit: (question, text) => questions.edit(question, text),
  turnTo: (id, words) => void questions.turnTo(id, words),
  orphaned(text, focused) {
    if (!store.state.session) return; // the reader has gone on to another conversation
    composer.restore(text);
    if (focused) composer.focus();
    notifications.notify(t("message.editKept"));
  },
  toggling: () => stickToBottom.stay(),
  copied(ok) {
    if (ok) notifications.announce(t("message.copied"), t("message.copied"));
    else notifications.notify(t("message.notCopied"));
  },
  label,
});

const expiryBar = new ExpiryBar(
  { bar: byId("session"), expiry: byId("expiry"), keep: byId("keep", HTMLButtonElement) },
  {
    now: () => api.serverNow(),
    keep: () => void session.extend(),
    due: () => void sync.refresh(),
    warn: (left) => notifications.announce(t("expiry.warning", { left })),
  },
);

const sidebar = new Sidebar({
  api,
  current: () => ownedSessionId(store.state),
  address: (id) => address.of(id),
  changed: () => nameTitle(),
  mayLeave: () => account.mayLeave(),
  async open(id) {
    await session.switchTo(id, () => focusComposer(byId("panel"), byId("panel-open")));
    stickToBottom.toEnd();
  },
  async remove(id) {
    const wasShown = await session.remove(id);
    drafts.write(id, "");
    if (wasShown) newConversation.begin();
  },
  failed(error, over) {
    if (!account.ended(error)) notifications.showError(error, over);
  },
  succeeded: (words) => notifications.succeeded(words),
  ended: () => void account.find(),
});

const view = new ConversationView(messageList, composer);

/** Show the state that the page is in. */
function render() {
  const { state } = store;
  if (models.shown) picker.current = models.shown;
  expiryBar.expiresAt = state.endReason ? null : state.session?.expires_at ?? null;
  view.render(state);
  sidebar.markCurrent();
  nameTitle();
}

/** Each conversation has its own draft; but what was for one that is over, or a guest's, goes along to the next. */
function showDraft() {
  const { session: shown, endReason } = store.state;
  if ((endReason !== null || shown?.anonymous) && composer.text.trim()) drafts.write(address.id, composer.text);
  else composer.show(drafts.read(address.id));
}

/** The conversation has begun, or is nobody's any more: what is in the box stays. */
function keepDraft() {
  drafts.write(null, "");
  if (composer.text.trim()) drafts.write(address.id, composer.text);
  else composer.show(drafts.read(address.id));
}

/** What a user was writing is nobody else's: it comes back with the same user, as long as the page is there.
 * @param {import("./api/account.js").User} gone */
function putAway(gone) {
  if (composer.text.trim()) unsent = { of: gone.user_id, text: composer.text };
  composer.text = "";
  drafts.clear();
  early.drop();
  settings.close();
}

function giveBack() {
  composer.restore(unsent.text);
  unsent = { of: "", text: "" };
}

/** By the conversation's title, or by what it began with. */
function nameTitle() {
  const first = store.state.earlier === null ? items(store.state)[0]?.text : "";
  title.conversation = sidebar.currentTitle ?? store.state.session?.title ?? first ?? "";
}

const settings = new SettingsDialog({
  api,
  accountApi: account.api,
  session: () => (store.state.endReason ? null : store.state.session),
  beginning: () => session.beginning,
  early,
  change: (settings) => session.change(settings),
  signedIn: () => account.user !== null,
  notifications,
});
byId("settings-open").addEventListener("click", () => settings.open());
listenForShortcuts({
  compose: () => composer.focus(),
  begin: () => byId("new").click(),
  search: () => sidebar.search(),
  settings: () => settings.open(),
});

/** Outside of the page. Whose words it is about is told by the title only. @param {string} title @param {string} tag */
function notifyOf(title, tag) {
  const told = new Notification(t("title.ready"), { body: title, tag });
  told.addEventListener("click", () => {
    focus();
    told.close();
  });
}

showLongWaits(store);
announceChanges(store, notifications, label);
store.subscribe((now, before) => {
  const ended = endedJustNow(before, now);
  if (ended?.state === "failed") void availability.refresh(); // its model may rest now
  if (ended && title.answerEnded() && wantsNotifications()) notifyOf(title.conversation, now.session?.session_id ?? "");
});
const picture = new NextFrame(render);
/** @param {import("./conversation/reducer.js").Live} now @param {import("./conversation/reducer.js").Live} before */
const hasGrown = (now, before) => now.text !== before.text || now.blocks !== before.blocks;
store.subscribe((now, before) => {
  if (now.live && before.live && hasGrown(now.live, before.live) && now.messages === before.messages) picture.soon();
  else picture.now();
});
pauseWhileHidden(sync.stream, () => store.idle());
new EarlierMessages(store, {
  api, stickToBottom, notifications, failed: (error) => session.failed(error),
});

for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => questions.send(example.textContent ?? ""));
}

if (!composer.text) composer.show(drafts.read(address.id));
void availability.refresh();
await session.show(async () => {
  if (!("hasLogin" in document.body.dataset)) return false;
  await account.find();
  return true; // also where the server has not told yet which user it is
});
focusComposer();
