"""Why a broker that is no Redis can't be used, in an operator's words; and what has been raised, in one exception."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from amqp.exceptions import AMQPError, MessageNacked
from kombu.exceptions import LimitExceeded, OperationalError

from broker.amqp_transport import Refused
from core.errors import Unavailable
from core.operations.preflight.mistake import with_value
from core.operations.preflight.redis_causes import Cause, refusal_of
from core.stores.redis import translate_errors as translate_redis_errors
from core.text.characters import one_line
from core.text.masking import without_secrets

RETRY_AFTER = 2
"""Seconds after which a client that was refused for want of the broker may try again."""
PERMISSIONS = "allow it all: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"


class BrokerAway(Unavailable):
    """The broker can't be reached, refuses, or takes no messages."""

    detail = "The queue is away; try again in a moment."

    def __init__(self, reason: str = "") -> None:
        super().__init__(retry_after=RETRY_AFTER)
        self._reason = reason

    @property
    def reason(self) -> str:
        """The setting and the cause, without secrets: a broker's words never quote people."""
        return self._reason or super().reason


@contextmanager
def translate_errors(variable: str, url: str) -> Iterator[None]:
    """Raise BrokerAway in place of what kombu, its transports and their drivers raise of the broker at `url`, which
    the variable names."""
    try:
        with translate_redis_errors():
            yield
    except BrokerAway:
        raise
    except (OperationalError, LimitExceeded, AMQPError, MessageNacked, OSError, Unavailable) as error:
        raise BrokerAway(told_of(error, variable, url)) from error


def told_of(error: BaseException, variable: str, url: str) -> str:
    """The setting and what is wrong, in one line without secrets."""
    return f"{with_value(variable, url)}: {one_line(without_secrets(cause_of(error).wrong, url))}"


def cause_of(error: BaseException, waited: float | None = None) -> Cause:
    """What the exception, or one that has led to it, says. `waited`: the seconds that an answer had."""
    chain = [*_chain(error)]
    known = (found for each in chain if (found := _known(each, waited)))
    fallback = next((each for each in chain if not isinstance(each, (OperationalError, Unavailable))), error)
    return next(known, None) or Cause(f"{type(fallback).__name__}: {fallback}", "see its log", passing=True)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _known(error: BaseException, waited: float | None) -> Cause | None:
    match error:
        case socket.gaierror():
            return Cause("no address is known for its host", "correct the name", passing=True)
        case ConnectionRefusedError():
            return Cause("nothing listens there", "start it, or correct the address", passing=True)
        case ssl.SSLError():
            return Cause(f"TLS fails ({error.reason})", "write amqp:// or amqps://, as it speaks; correct its port")
        case TimeoutError():
            within = "in time" if waited is None else f"within {waited:g} s"
            return Cause(f"no answer {within}", "is it a RabbitMQ that listens there?", passing=True)
        case OSError():
            return Cause(f"it breaks the connection off ({error.strerror or error})", "see its log", passing=True)
        case ImportError():
            return Cause(f"{error.name} is not installed", "install it, or take redis:// or amqp://")
        case KeyError() if "No such transport" in str(error):
            return Cause("there is no such kind of broker", "write redis:// or amqp://")
        case LimitExceeded():
            return Cause("no connection is free: all wait for its answers", "see whether it is frozen", passing=True)
        case Refused():
            return None  # but its cause is
        case AMQPError():
            return _of_amqp(type(error).__name__, str(error.reply_text or ""))
    return refusal_of(error)


def _of_amqp(kind: str, said: str) -> Cause | None:
    """AMQP's own errors, whose classes are its codes."""
    match kind:
        case "Blocked":
            return Cause(
                "it takes no messages: it is short of memory or disk",
                "free some on its host (rabbitmqctl status shows its alarms)",
                passing=True,
            )
        case "AccessRefused" if "access to" in said:
            return Cause(f"it refuses this user ({said})", PERMISSIONS, passing=True)
        case "AccessRefused":
            return Cause("it refuses the user or the password", "correct them: amqp://user:password@host:5672//")
        case "NotAllowed":
            return Cause("it has no such virtual host, or not for this user", "correct it: amqp://...@host:5672/NAME")
        case "ConnectionForced" if "heartbeats missed" in said:
            return Cause("it says nothing any more", "see whether it is frozen", passing=True)
        case "ConsumerCancelled":
            return Cause("a queue that was consumed is gone", "see who deletes queues", passing=True)
        case "ConnectionForced":
            return Cause(f"it closes the connection ({said})", "see its log", passing=True)
    return Cause(said, "see its log", passing=True) if said else None
