"""A request's slot among the open event streams of its session, user and address."""

from uuid import UUID

from flask import request

from web.auth.client_address import client_address
from web.auth.principal import current_principal
from web.context import context
from web.streaming import slots


def take_stream_slot(session_id: UUID | None = None) -> None:
    """Take a slot for the stream that this request will be answered with. Raises RateLimited or Unavailable.

    Do it before anything else is done for the request: one that is refused must have changed nothing. Without a
    `session_id` the user and the address count alone; a session that is made for this stream has no other.
    """
    if request.method == "HEAD":
        return  # answered without a body
    principal = current_principal()
    user_id = principal.user_id if principal else None
    slots.take(context().services.open_streams, session_id, user_id, client_address())
