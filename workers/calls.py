"""The commands of a message: one, or a group that has been sent together."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from celery_config import COMMANDS, HOLDER, REQUEST_IDS
from core.messaging.replies import Reply, sendable
from core.observability.request_id import parse_request_id


class Call(NamedTuple):
    """One command."""

    pending: Reply
    """Its reply, unless that was kept from a former delivery still to come."""
    args: Sequence[Any]
    kwargs: Mapping[str, Any] = {}
    request_id: str | None = None
    """Of the request that it is for."""


def read_calls(
    task_id: str, headers: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Call]:
    """The commands of the message with this id. One whose arguments can't be read has none."""
    pending, requests = noted(headers), _request_ids(headers)
    if len(pending) > 1:
        return [
            Call(reply, _arguments(each), request_id=request_id)
            for reply, each, request_id in zip_longest(pending, args[: len(pending)], requests[: len(pending)])
        ]
    alone = _pending(task_id, args[0] if args else "", headers.get(HOLDER, ""))
    return [Call(pending[0] if pending else alone, args, kwargs, next(iter(requests), None))]


def noted(headers: Mapping[str, Any]) -> list[Reply]:
    """The pending replies of the commands that the headers name; none when they can't be read."""
    named = headers.get(COMMANDS)
    if not isinstance(named, list) or not all(isinstance(each, list) and len(each) == 3 for each in named):
        return []
    return [_pending(*each) for each in named]


def _request_ids(headers: Mapping[str, Any]) -> list[str | None]:
    named = headers.get(REQUEST_IDS)
    return [parse_request_id(each) for each in named] if isinstance(named, list) else []


def _pending(task_id: object, session_id: object, holder: object) -> Reply:
    """A reply that can be sent, whatever the command was: one that can't would keep back its group's others."""
    return Reply(sendable(str(task_id)), sendable(str(session_id)), sendable(str(holder)))


def _arguments(args: Any) -> list[Any]:
    return args if isinstance(args, list) else []
