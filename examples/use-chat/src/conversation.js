// The calls of Switchboard that `useChat` knows nothing of. The browser's cookie says which session is meant, so the
// id in these URLs may be any; with a key in place of a cookie it is the session's id.

export const CHAT = "mine";

/** The conversation so far, without the answer that is being written. */
export async function loadMessages() {
  const response = await fetch(`/api/chat/${CHAT}/messages`);
  if (response.status === 401) return []; // nobody has asked anything yet, or it is long ago
  if (!response.ok) throw new Error(problem(await response.text()));
  return response.json();
}

/** Stop the answer itself: `stop` of `useChat` only stops listening. */
export async function stopAnswer() {
  await fetch(`/api/chat/${CHAT}/stop`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
}

/** The sentence of a refusal, whose body is problem details (RFC 9457); or of an answer that failed, which is one. */
export function problem(text) {
  try {
    return JSON.parse(text).detail ?? text;
  } catch {
    return text;
  }
}
