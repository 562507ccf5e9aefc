/** Requests that failed: the problem document of the answer (RFC 9457), or that none came. */

import { t } from "../ui/strings.js";

/**
 * @typedef {Readonly<{type?: string, title?: string, status?: number, detail?: string, field?: string,
 *   limit?: string}>} ProblemDetails
 */

/** An answer that is not a success; status 0 means that no answer came. */
export class Problem extends Error {
  /** @param {ProblemDetails} details @param {number | null} retryAfter in seconds */
  constructor(details, retryAfter = null) {
    super(details.detail || details.title || t("error.some"));
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
