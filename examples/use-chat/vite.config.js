// The page and Switchboard share one origin in development, so that the session's cookie needs no further thought.
const SWITCHBOARD = process.env.SWITCHBOARD_URL ?? "http://127.0.0.1:8000";
const proxy = { "/api/chat": SWITCHBOARD };

export default { server: { proxy }, preview: { proxy } };
