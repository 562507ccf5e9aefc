"""The scripted provider goes on with an answer, and counts what it is asked."""

import json
import re
import urllib.request

from bench import provider
from bench.child import child
from bench.provider import PACED, Manner


def _ask(port: int, *messages: dict[str, str]) -> str:
    body = json.dumps({"model": str(Manner(5, 1000)), "messages": messages, "stream": True}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body)
    with urllib.request.urlopen(request, timeout=10) as response:
        told: str = response.read().decode()
    return "".join(re.findall(r'"content":"([^"]*)"', told))


def test_an_answer_is_gone_on_with() -> None:
    with child(provider.run) as serving:
        port = serving.receive()
        question = {"role": "user", "content": "Count."}
        text = _ask(port, question)
        assert Manner(5, 1000).is_whole(text)
        begun = text[: 2 * provider.TOKEN_LENGTH]
        rest = _ask(port, question, {"role": "assistant", "content": begun.rstrip()})
        assert [number for number, _ in PACED.findall(rest)] == ["0002", "0003", "0004"]
        assert Manner(5, 1000).is_whole(begun + rest)
        serving.send("billed")
        assert serving.receive() == 2
