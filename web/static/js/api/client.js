/** The calls about sessions, messages and models. What to tell the reader when one fails: error-messages.js. */

/**
 * @typedef {{session_id: string, anonymous: boolean, model: string, version: number,
 *   created_at: string, expires_at: string, active_generation?: any}} Session
 * @typedef {{id: string, role: "user" | "assistant", text: string, html?: string | null,
 *   model?: string | null, state?: string, created_at?: string, finish_reason?: string | null,
 *   thinking?: string | null, thinking_seconds?: number | null, problem?: ProblemDetails | null}} Message
 * @typedef {{messages: Message[], cursor: string | null, before: string | null}} Transcript
 * @typedef {{name: string, label: string, provider: string, context_tokens: number, available: boolean}} Model
 * @typedef {{session_id: string, title: string | null, created_at: string, expires_at: string}} Listed
 * @typedef {{type?: string, title?: string, status?: number, detail?: string, field?: string,
 *   limit?: string}} ProblemDetails
 * @typedef {{session_id: string, generation_id: string, state: string, position: number}} Accepted
 */

/** An answer that is not a success; status 0 means that no answer came. */
export class Problem extends Error {
  /** @param {ProblemDetails} details @param {number | null} retryAfter in seconds */
  constructor(details, retryAfter = null) {
    super(details.detail || details.title || "Something went wrong.");
    this.status = details.status ?? 0;
    this.slug = slugOf(details);
    this.field = details.field ?? null;
    this.limit = details.limit ?? null;
    this.retryAfter = retryAfter;
  }

  /** The server says that the session this page holds does not exist (any more). */
  get sessionLost() {
    return this.status === 401 || this.slug === "not-owner";
  }
}

/** @param {unknown} error @returns {error is Problem} */
export const isSessionLost = (error) => error instanceof Problem && error.sessionLost;

/** @param {ProblemDetails} details */
const slugOf = (details) => (details.type ?? "").split("/").pop() ?? "";

// How far the server's clock is ahead of this one, so that lifetimes don't depend on the visitor's clock.
let clockAhead = 0;

/** The server's time in milliseconds since 1970. */
export const serverNow = () => Date.now() + clockAhead;

// A user's session is named by its id, so that two tabs can show two of them; a guest's by its cookie alone.
/** @type {string | null} */ let sessionId = null;

/** The session that calls are about from now on; null: the cookie's. @param {Session | null} session */
export function useSession(session) {
  sessionId = session && !session.anonymous ? session.session_id : null;
}

/** @returns {Record<string, string>} */
export const sessionHeaders = () => (sessionId ? headersFor(sessionId) : {});

/** @param {string} id @returns {Record<string, string>} */
const headersFor = (id) => ({ "X-Session-ID": id });

/**
 * @param {string} method @param {string} path
 * @param {{body?: object, headers?: Record<string, string>}} [options]
 */
export async function call(method, path, { body, headers } = {}) {
  headers = { ...sessionHeaders(), ...headers };
  /** @type {Response} */
  let response;
  try {
    response = await fetch(path, {
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
  if (date) clockAhead = date + 500 - Date.now(); // the header is cut off to whole seconds
  if (!response.ok) {
    const details = await response.json().catch(() => ({}));
    throw new Problem({ ...details, status: response.status }, Number(response.headers.get("Retry-After")) || null);
  }
  if (response.status === 202 && response.headers.has("Location")) {
    throw new Problem({ status: 202, detail: "The service is busy. This will be done as soon as it can be." });
  }
  const data = response.status === 204 ? null : await response.json();
  return { data, etag: response.headers.get("ETag") };
}

/** Takes `Idempotency-Key`s; crypto.randomUUID exists on secure origins only, and plain http on a LAN is not one. */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @returns {Promise<{data: Session, etag: string | null}>} */
export const currentSession = () => call("GET", "/session/current");

/** @param {string} model @returns {Promise<{data: Session, etag: string | null}>} */
export const createSession = (model) => call("POST", "/session/create", { body: model ? { model } : {} });

/** @returns {Promise<{data: Session, etag: string | null}>} */
export const refreshSession = () => call("POST", "/session/refresh", { body: {} });

export const deleteSession = () => call("DELETE", "/session");

/** Make one of the user's sessions the browser's, also after a reload. @param {string} sessionId */
export const openSession = (sessionId) => call("POST", "/session/open", { body: { session_id: sessionId } });

/** Put the anonymous session into the user's account. @returns {Promise<{data: Session, etag: string | null}>} */
export const claimSession = () => call("POST", "/session/claim", { body: {} });

/** @param {string | null} before @returns {Promise<{sessions: Listed[], next: string | null}>} */
export const sessions = async (before) =>
  (await call("GET", `/sessions?limit=30${before ? `&before=${encodeURIComponent(before)}` : ""}`)).data;

/** @param {string} sessionId @param {string} title @returns {Promise<Listed>} */
export const renameSession = async (sessionId, title) =>
  (await call("PATCH", "/session", { body: { title }, headers: headersFor(sessionId) })).data;

/** @param {string} sessionId */
export const deleteListed = (sessionId) => call("DELETE", "/session", { headers: headersFor(sessionId) });

/** The newest page of the words or, with `before`, the page that ends before that message.
 * @param {string | null} [before] @returns {Promise<Transcript>} */
export const transcript = async (before) =>
  (await call("GET", `/session/messages${before ? `?before=${encodeURIComponent(before)}` : ""}`)).data;

/** @returns {Promise<{default: string, models: Model[]}>} */
export const models = async () => (await call("GET", "/config/models")).data;

/** @param {string} model @param {string | null} etag @returns {Promise<{data: Session, etag: string | null}>} */
export const switchModel = (model, etag) =>
  call("POST", "/session/model", { body: { model }, headers: etag ? { "If-Match": etag } : {} });

/** Stop the answer that is being written. */
export const stop = () => call("POST", "/chat/stop", { body: {} });

/** @param {string} message @param {string | null} model @param {string} key @returns {Promise<Accepted>} */
export const ask = async (message, model, key) =>
  (await call("POST", "/chat", { body: model ? { message, model } : { message }, headers: { "Idempotency-Key": key } })).data;
