"""What is done once an answer has been sent, or its stream has ended."""

from collections.abc import Callable

from flask import Response
from werkzeug.wsgi import ClosingIterator


def when_sent(response: Response, call: Callable[[], None]) -> None:
    """Call it then, in whichever way the answer ends."""
    if response.direct_passthrough:  # streams and files: the server gets what the response has, and not the response
        response.response = ClosingIterator(response.response, call)  # type: ignore[arg-type]
    else:
        response.call_on_close(call)
