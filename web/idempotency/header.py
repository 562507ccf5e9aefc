"""`Idempotency-Key`: a request that is sent again under its key does nothing again (draft-ietf-httpapi-
idempotency-key-header-07).

A key belongs to its sender: a user, the holder of a session, or, without either, an address. The last is the
weakest: a request with the same key from the same address gets the session that was created under it. The address
keeps all others out; against neighbours behind the same address the key itself is the proof, so clients must make it
random (a UUIDv4 will do), and a client that moves to another address between two tries gets another session.
An error created nothing and is not kept: its repeat is tried anew.
"""

import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, cast

from flask import Flask, Response, current_app, request

from core.auth.principal import Principal
from core.errors import Unavailable
from core.limits.buckets import address_buckets, owner_buckets
from core.limits.rate_limit import Bucket
from core.messaging.replies import REPLY_TTL
from core.sessions.credential import Credential
from core.stores.redis import Redis
from web.auth.client_address import client_address
from web.auth.creation_plan import new_credential, set_creation_plan
from web.auth.credentials import session_credential, set_session_cookie
from web.auth.current_session import current_session, identify_with_session
from web.auth.principal import current_principal
from web.context import context
from web.errors import IdempotencyKeyInvalid
from web.idempotency.records import ANSWER_TTL, Answered, Begun, Idempotency, Request
from web.limits import rate_limit_headers

logger = logging.getLogger(__name__)

MAX_KEY_LENGTH = 255
REPEATED_HEADERS = ("Content-Type", "ETag", "Location", "Preference-Applied")
"""The headers that a repeated answer has from the first one. Its cookie is made anew: no secret is kept."""
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_PLAIN = re.compile(r"[ !#-~]+")

_EXTENSION = "switchboard.idempotency"

Arguments = ParamSpec("Arguments")
View = Callable[Arguments, Response]


def register(app: Flask, redis: Redis) -> None:
    """Keep the application's records in this Redis, whose client fails soon."""
    app.extensions[_EXTENSION] = Idempotency(redis)


def idempotent(*, in_session: bool) -> Callable[[View[Arguments]], View[Arguments]]:
    """Let a view be repeated. `in_session`: it works in the session that the request names, if it names one."""

    def decorate(view: View[Arguments]) -> View[Arguments]:
        @wraps(view)
        def once(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Response:
            header = request.headers.get("Idempotency-Key")
            if header is None:
                return view(*args, **kwargs)
            return _once(parse_key(header), in_session, lambda: view(*args, **kwargs))

        return once

    return decorate


def parse_key(header: str) -> str:
    """The key: a string as structured fields have it, in quotes (RFC 9651, 3.3.3), or as most clients send it,
    without. Raises IdempotencyKeyInvalid."""
    if len(header) > 2 * MAX_KEY_LENGTH + 2:  # each character escaped, in quotes
        raise IdempotencyKeyInvalid
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header
    if (not quoted and not _PLAIN.fullmatch(header)) or len(key) > MAX_KEY_LENGTH:
        raise IdempotencyKeyInvalid
    return key


def _once(key: str, in_session: bool, view: Callable[[], Response]) -> Response:
    principal = identify_with_session() if in_session else current_principal()
    credential = session_credential() if in_session else None
    body = _canonical(request.get_data())
    sent = Request(_scope(principal, credential), key, body)
    longest = context().options.anonymous_max
    begun = _records().begin(sent, ANSWER_TTL if principal else min(ANSWER_TTL, longest))
    set_creation_plan(begun.plan)
    if isinstance(begun, Answered):
        return _repeated(begun, credential)
    try:
        rate_limit_headers.require(_buckets(principal, credential))
        response = view()
    except Exception:
        _forget(begun)
        raise
    own = new_credential()
    issued = str(own) in " ".join(response.headers.getlist("Set-Cookie"))
    # Now that it has a session, its sender has another scope; the repeat should find the answer all the same.
    also = [Request(_scope(principal, own), key, body)] if issued and in_session else []
    _keep(begun, response, issued, also)
    return response


def _records() -> Idempotency:
    return cast("Idempotency", current_app.extensions[_EXTENSION])


def _scope(principal: Principal | None, credential: Credential | None) -> str:
    sender = f"user {principal.user_id}" if principal else ""
    if credential is not None:
        sender += f" session {_proved(credential, principal)}"
    return f"{request.path} {sender or f'address {client_address()}'}"


def _proved(credential: Credential, principal: Principal | None) -> str:
    # With the secret's hash, or a client that knows the id could ask for what its holder was answered, or use up what
    # its holder may ask for.
    proof = "" if principal or credential.secret_hash is None else credential.secret_hash.hex()
    return f"{credential.session_id} {proof}"


def _buckets(principal: Principal | None, credential: Credential | None) -> list[Bucket]:
    """What bounds the records of one sender. A repeat of what has been answered makes none."""
    rate = context().options.limit_idempotency
    if rate is None:
        return []
    if principal is not None:
        return owner_buckets("idempotency", principal.user_id, rate)
    if credential is not None:
        return [Bucket("idempotency", _proved(credential, None), rate)]
    return address_buckets("idempotency", client_address(), rate)


def _canonical(body: bytes) -> bytes:
    """The body without what does not matter in JSON: spaces and the order of fields. None is the same as `{}`."""
    try:
        return json.dumps(json.loads(body or b"{}"), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return body


def _keep(begun: Begun, response: Response, issued: bool, also: list[Request]) -> None:
    headers = {name: response.headers[name] for name in REPEATED_HEADERS if name in response.headers}
    answer = {"status": response.status_code, "headers": headers, "body": response.get_data(as_text=True)}
    # A task is forgotten after a while, and the command with it; then the repeat has to send it again.
    valid = timedelta(seconds=REPLY_TTL) if "Location" in headers else ANSWER_TTL
    try:
        _records().answer(begun, {**answer, "issued": issued}, valid, also)
    except Unavailable:
        logger.warning("an answer could not be kept for repeats: Redis is away")


def _forget(begun: Begun) -> None:
    try:
        _records().forget(begun)
    except Unavailable:
        logger.warning("an idempotency key could not be given back: Redis is away")


def _repeated(answered: Answered, credential: Credential | None) -> Response:
    if credential is not None:
        current_session()  # the session may have ended since
    answer: dict[str, Any] = answered.answer
    response = Response(answer["body"], answer["status"], answer["headers"])
    if answer["issued"]:
        set_session_cookie(response, new_credential())
    return response
