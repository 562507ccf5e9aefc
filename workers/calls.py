"""The commands of a message: one, or a group that has been sent together."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from celery_config import COMMANDS, HOLDER
from core.messaging.replies import Reply, sendable


class Call(NamedTuple):
    """One command."""

    pending: Reply
    """Its reply, unless that was kept from a former delivery still to come."""
    args: Sequence[Any]
    kwargs: Mapping[str, Any] = {}


def read_calls(
    task_id: str, headers: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Call]:
    """The commands of the message with this id. One whose arguments can't be read has none."""
    pending = noted(headers)
    if len(pending) > 1:
        return [Call(reply, _arguments(each)) for reply, each in zip_longest(pending, args[: len(pending)])]
    alone = _pending(task_id, args[0] if args else "", headers.get(HOLDER, ""))
    return [Call(pending[0] if pending else alone, args, kwargs)]


def noted(headers: Mapping[str, Any]) -> list[Reply]:
    """The pending replies of the commands that the headers name; none when they can't be read."""
    named = headers.get(COMMANDS)
    if not isinstance(named, list) or not all(isinstance(each, list) and len(each) == 3 for each in named):
        return []
    return [_pending(*each) for each in named]


def _pending(task_id: object, session_id: object, holder: object) -> Reply:
    """A reply that can be sent, whatever the command was: one that can't would keep back its group's others."""
    return Reply(sendable(str(task_id)), sendable(str(session_id)), sendable(str(holder)))


def _arguments(args: Any) -> list[Any]:
    return args if isinstance(args, list) else []
