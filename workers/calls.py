"""The commands of a message: one, or a group that has been sent together."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from celery_config import COMMANDS, HOLDER
from core.messaging.replies import Reply


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
    alone = Reply(task_id, str(args[0]) if args else "", str(headers.get(HOLDER, "")))
    return [Call(pending[0] if pending else alone, args, kwargs)]


def noted(headers: Mapping[str, Any]) -> list[Reply]:
    """The pending replies of the commands that the headers name; none when they can't be read."""
    named = headers.get(COMMANDS)
    if not isinstance(named, list) or not all(isinstance(each, list) and len(each) == 3 for each in named):
        return []
    return [Reply(str(task_id), str(session_id), str(holder)) for task_id, session_id, holder in named]


def _arguments(args: Any) -> list[Any]:
    return args if isinstance(args, list) else []
