/** The calls about sessions, messages and models. What to tell the reader when one fails: error-messages.js. */

import { Problem } from "./problem.js";
import { t } from "../ui/strings.js";

/**
 * @typedef {Readonly<{generation_id: string, state: "queued" | "running", model: string}>} ActiveGeneration
 * @typedef {Readonly<{session_id: string, anonymous: boolean, model: string, version: number,
 *   created_at: string, expires_at: string, title?: string | null, system_prompt?: string | null,
 *   temperature?: number | null, active_generation?: ActiveGeneration | null}>} Session
 * @typedef {Readonly<{type?: string, title?: string, detail?: string, model?: string, reason?: string, subject?: string,
 *   tokens?: number, limit?: number | string}>} AnswerProblem why an answer failed, as the server keeps it with the message
 * @typedef {Readonly<{id: string, role: "user" | "assistant", text: string, html?: string | null,
 *   model?: string | null, state?: string, created_at?: string, finish_reason?: string | null,
 *   thinking?: string | null, thinking_seconds?: number | null, problem?: AnswerProblem | null,
 *   handovers?: readonly {from: string, to: string}[] | null, parent?: string | null, siblings?: readonly string[],
 *   fallback?: {from: string, to: string, reason: string, at: number} | null}>} Message
 * @typedef {Readonly<{generation_id: string, message: string}>} WaitingQuestion
 * @typedef {{messages: Message[], cursor: string | null, before: string | null}} Transcript
 * @typedef {{name: string, label: string, provider: string, context_tokens: number, available: boolean}} Model
 * @typedef {{session_id: string, title: string | null, created_at: string, expires_at: string, last_active_at: string,
 *   answering: boolean, unread: boolean, snippet?: {text: string, hit: boolean}[]}} Listed
 * @typedef {{session_id: string, generation_id: string, state: "queued" | "waiting", position: number}} Accepted
 * @typedef {{path: "/chat" | "/chat/regenerate" | "/chat/continue", body: object}} Wish
 * @typedef {{data: Session, etag: string | null}} SessionAnswer
 */

export class ApiClient {
  /** A user's session is named by its id, so that two tabs can show two of them; a guest's by its cookie alone. */
  #sessionId = /** @type {string | null} */ (null);
  /** How far the server's clock is ahead of this one, so that lifetimes don't depend on the visitor's clock. */
  #clockAhead = 0;

  /** @param {string} [root] the path below which the server is, such as `/assistant` */
  constructor(root = "") {
    this.root = root;
  }

  /** Where a path of the API is. @param {string} path */
  url(path) {
    return this.root + path;
  }

  /** The server's time in milliseconds since 1970. */
  serverNow() {
    return Date.now() + this.#clockAhead;
  }

  /** The session that calls are about from now on; null: the cookie's. @param {Session | null} session */
  useSession(session) {
    this.useOwned(session && !session.anonymous ? session.session_id : null);
  }

  /** The user's session that calls are about from now on; null: the cookie's. @param {string | null} sessionId */
  useOwned(sessionId) {
    this.#sessionId = sessionId;
  }

  /** @returns {Record<string, string>} */
  sessionHeaders() {
    return this.#sessionId ? headersFor(this.#sessionId) : {};
  }

  /**
   * @param {string} method @param {string} path
   * @param {{body?: object, headers?: Record<string, string>}} [options]
   * @returns {Promise<{data: any, etag: string | null}>} throws a Problem for every answer that is not a success
   */
  async call(method, path, { body, headers } = {}) {
    headers = { ...this.sessionHeaders(), ...headers };
    /** @type {Response} */
    let response;
    try {
      response = await fetch(this.url(path), {
        method,
        headers: body ? { ...headers, "Content-Type": "application/json" } : headers,
        body: body && JSON.stringify(body),
        cache: "no-store",
        signal: AbortSignal.timeout(20_000),
      });
    } catch {
      throw new Problem({ status: 0 });
    }
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (date) this.#clockAhead = date + 500 - Date.now(); // the header is cut off to whole seconds
    if (!response.ok) {
      const details = await response.json().catch(() => ({}));
      throw new Problem({ ...details, status: response.status }, Number(response.headers.get("Retry-After")) || null);
    }
    if (response.status === 202 && response.headers.has("Location")) {
      throw new Problem({ status: 202, detail: t("error.later") });
    }
    const data = response.status === 204 ? null : await response.json();
    return { data, etag: response.headers.get("ETag") };
  }

  /** @returns {Promise<SessionAnswer>} */
  currentSession() {
    return this.call("GET", "/session/current");
  }

  /** @param {string} model @returns {Promise<SessionAnswer>} */
  createSession(model) {
    return this.call("POST", "/session/create", { body: model ? { model } : {} });
  }

  /** @returns {Promise<SessionAnswer>} */
  refreshSession() {
    return this.call("POST", "/session/refresh", { body: {} });
  }

  async deleteSession() {
    await this.call("DELETE", "/session");
  }

  /** Make one of the user's sessions the browser's, also after a reload.
   * @param {string} sessionId @returns {Promise<SessionAnswer>} */
  openSession(sessionId) {
    return this.call("POST", "/session/open", { body: { session_id: sessionId } });
  }

  /** Put the anonymous session into the user's account. @returns {Promise<SessionAnswer>} */
  claimSession() {
    return this.call("POST", "/session/claim", { body: {} });
  }

  /** A page of the user's sessions, last active first. @param {string | null} before the `next` of the page before
   * @param {string} query only those in which this is found; empty: all
   * @returns {Promise<{sessions: Listed[], next: string | null}>} */
  async sessions(before, query) {
    const parameters = new URLSearchParams({ limit: "30", ...(before && { before }), ...(query && { q: query }) });
    return (await this.call("GET", `/sessions?${parameters}`)).data;
  }

  /** Set what is named; null: as if it had never been. @param {{system_prompt?: string | null, temperature?: number | null}} changes
   * @returns {Promise<SessionAnswer>} */
  changeSession(changes) {
    return this.call("PATCH", "/session", { body: changes });
  }

  /** All that the server keeps of the session. @returns {Promise<{data: {session_id: string}}>} */
  exportSession() {
    return this.call("GET", "/session/export");
  }

  /** @param {string} sessionId @param {string} title @returns {Promise<Listed>} */
  async renameSession(sessionId, title) {
    return (await this.call("PATCH", "/session", { body: { title }, headers: headersFor(sessionId) })).data;
  }

  /** @param {string} sessionId */
  async deleteListed(sessionId) {
    await this.call("DELETE", "/session", { headers: headersFor(sessionId) });
  }

  /** The newest page of the messages or, with `before`, the page that ends before that message.
   * @param {string | null} [before] @returns {Promise<Transcript>} */
  async transcript(before) {
    return (await this.call("GET", `/session/messages${before ? `?before=${encodeURIComponent(before)}` : ""}`)).data;
  }

  /** @returns {Promise<{default: string, models: Model[]}>} */
  async models() {
    return (await this.call("GET", "/config/models")).data;
  }

  /** @param {string} model @param {string | null} etag @param {boolean} live whether it also carries on the answer that is
   * being written @returns {Promise<SessionAnswer>} */
  switchModel(model, etag, live) {
    return this.call("POST", "/session/model", { body: { model, live }, headers: etag ? { "If-Match": etag } : {} });
  }

  /** Stop the answer that is being written. */
  async stop() {
    await this.call("POST", "/chat/stop", { body: {} });
  }

  /** Have something answered: a question, or one that there is. @param {Wish} wish @param {string} key
   * @returns {Promise<Accepted>} */
  async ask({ path, body }, key) {
    return (await this.call("POST", path, { body, headers: { "Idempotency-Key": key } })).data;
  }

  /** Make the branch through this message the current one. @param {string} id */
  async turnTo(id) {
    await this.call("POST", "/session/branch", { body: { message_id: id } });
  }

  /** The questions that wait for the end of the answer, in their order. @returns {Promise<WaitingQuestion[]>} */
  async waiting() {
    return (await this.call("GET", "/session/queue")).data.waiting;
  }

  /** @param {string} generation @param {string} message */
  async editWaiting(generation, message) {
    await this.call("PATCH", `/session/queue/${generation}`, { body: { message } });
  }

  /** @param {string} generation */
  async removeWaiting(generation) {
    await this.call("DELETE", `/session/queue/${generation}`);
  }
}

/** @param {string} id @returns {Record<string, string>} */
const headersFor = (id) => ({ "X-Session-ID": id });

/** An `Idempotency-Key`; crypto.randomUUID exists on secure origins only, and plain http on a LAN is not one. */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
