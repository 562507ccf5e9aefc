"""A real HTTP server that sends the recorded streams, each under its model's name, cut up as asked."""

import json
import random
import re
from collections.abc import Callable, Mapping

from tests.servers.case import LONGEST, Case
from tests.servers.streams import CASES
from tests.support.provider import Handler, Manner, ProviderServer

AND_NOW = "And now?"
"""A question that every model here answers well."""
GOOD = "Now all is well. 好 🎉"

Cut = Callable[[Case], list[bytes]]


def _whole(case: Case) -> list[bytes]:
    return [case.body]


def _single_bytes(case: Case) -> list[bytes]:
    return [case.body[at : at + 1] for at in range(len(case.body))]


def _odd(case: Case) -> list[bytes]:
    chance, at, parts = random.Random(len(case.body)), 0, []
    while at < len(case.body):
        size = chance.choice((1, 2, 3, 7, 40, 200))
        parts.append(case.body[at : at + size])
        at += size
    return parts


def _respelled(case: Case) -> list[bytes]:
    """What means the same: a byte order mark, no space after the colon, the other line ends."""
    if case.headers["Content-Type"] != "text/event-stream":
        return [case.body]
    lines = re.sub(rb"^(data|event): ", rb"\1:", case.body.replace(b"\r\n", b"\n"), flags=re.MULTILINE)
    return [b"\xef\xbb\xbf", lines if b"\r" in case.body else lines.replace(b"\n", b"\r\n")]


CUTS: Mapping[str, Cut] = {
    "whole": _whole,
    "in single bytes": _single_bytes,
    "in odd parts": _odd,
    "respelled": _respelled,
}


def protocol(case_name: str) -> str:
    """The wire protocol of a case's provider."""
    return "anthropic" if case_name.startswith("anthropic:") else "openai"


def model_name(case_name: str) -> str:
    """What models.toml calls the model that tells a case."""
    return re.sub(r"[^a-z0-9]+", "-", case_name.lower())


def _always(case: Case) -> Callable[[], Case]:
    return lambda: case


class Replay:
    """The server, how it cuts what it sends, and a model `mutated` in each protocol, for what a test makes up."""

    def __init__(self) -> None:
        self.cut: Cut = _whole
        self.mutated = Case(b"")
        cases = {model_name(name): case for name, case in CASES.items()}
        assert len(cases) == len(CASES)
        manners: dict[str, Manner] = {name: self._telling(_always(case)) for name, case in cases.items()}
        self._server = ProviderServer({**manners, "mutated": self._telling(lambda: self.mutated)})
        self.requests = self._server.requests
        self.stop = self._server.stop

    def models_toml(self) -> str:
        """A models.toml with a table for each case, and the two for mutations."""
        tables = [self._table(model_name(name), protocol(name), case.table) for name, case in CASES.items()]
        tables += [self._table(f"mutated-{spoken}", spoken, model="mutated") for spoken in ("openai", "anthropic")]
        return "\n".join([f'default = "{model_name(next(iter(CASES)))}"', *tables])

    def _table(self, name: str, spoken: str, more: str = "", model: str = "") -> str:
        return f"""
[models.{name}]
label = "{name}"
provider = "{spoken}"
base_url = "{self._server.base_url(spoken)}"
model = "{model or name}"
context_tokens = 3000
max_tokens = {LONGEST}
first_token_timeout = 5.0
between_tokens_timeout = 5.0
{more}
"""

    def _telling(self, which: Callable[[], Case]) -> Manner:
        def manner(handler: Handler) -> None:
            case, asked = which(), self.requests[-1]
            if AND_NOW in json.dumps(asked["messages"][-1]) or (case.refuses and case.refuses not in asked):
                handler.begin()
                # Where the first tag is in the template, text is what follows the closing one.
                handler.chunk("</think>" * ("opened" in case.table) + GOOD)
                handler.conclude()
            else:
                _send(handler, case, self.cut(case))

        return manner


def _send(handler: Handler, case: Case, parts: list[bytes]) -> None:
    """In HTTP chunks, each of which reaches the client's parser by itself."""
    handler.send_response(case.status)
    for name, value in {**case.headers, "Connection": "close", "Transfer-Encoding": "chunked"}.items():
        handler.send_header(name, value)
    handler.end_headers()
    for part in filter(None, parts):
        handler.say(b"%x\r\n%s\r\n" % (len(part), part))
    handler.say(b"0\r\n\r\n")
