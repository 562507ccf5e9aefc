"""Ask with POST /chat/sse, and go on with GET /chat/sse after the last event wherever the connection breaks."""

import json
import os
import sys
import time

import httpx
from httpx_sse import EventSource, connect_sse

client = httpx.Client(
    base_url=os.environ["SWITCHBOARD_URL"],
    headers={"Authorization": f"Bearer {os.environ['SWITCHBOARD_KEY']}"},
    timeout=httpx.Timeout(10, read=30),  # comments come every 15 seconds
)
ENDS = ("done", "stopped", "failed")


def read(events: EventSource, seen: dict[str, str]) -> bool:
    """Print what the events say, and note how far that is; whether the answer has ended."""
    for event in events.iter_sse():
        data = json.loads(event.data)
        if event.event == "session":
            seen["X-Session-ID"] = data["session_id"]
        elif event.event == "delta":
            print(data["text"], end="", flush=True)
        elif event.event == "reset":  # what is missing is in GET /session/messages
            return True
        if event.id:
            seen["Last-Event-ID"] = event.id
        if event.event in ENDS:
            return True
    return False


def ask(question: str, session: dict[str, str]) -> dict[str, str]:
    """Print the answer to a question in a session, or in a new one; the session."""
    seen = dict(session)
    with connect_sse(client, "POST", "/chat/sse", json={"message": question}, headers=session) as events:
        events.response.raise_for_status()
        try:
            ended = read(events, seen)
        except httpx.TransportError:
            ended = False
    while not ended:
        time.sleep(1)
        try:
            with connect_sse(client, "GET", "/chat/sse", headers=seen) as events:
                ended = read(events, seen)
        except httpx.TransportError:
            continue
    print()
    return {"X-Session-ID": seen["X-Session-ID"]}


if __name__ == "__main__":
    current: dict[str, str] = {}
    for each in sys.argv[1:]:
        current = ask(each, current)
