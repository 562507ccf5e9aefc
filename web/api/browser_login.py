"""What logging in and out does to a browser: its cookies, and the streams that its last login has opened."""

from uuid import UUID

from flask import Response

from core.auth.accounts import LoggedIn
from web.auth.credentials import (
    clear_login_cookie,
    clear_session_cookie,
    login_before,
    session_cookie,
    set_device_cookie,
    set_login_cookie,
)
from web.context import context


def set_login(response: Response, logged_in: LoggedIn) -> None:
    """Log the browser in, and let it be known at its next login."""
    set_login_cookie(response, logged_in.credential)
    set_device_cookie(response, logged_in.device)
    announce_login(response, logged_in.user.id)


def replace_user(response: Response, logged_in: LoggedIn) -> None:
    """Log the browser in as a user who may not be its last one."""
    set_login(response, logged_in)
    _clear_session_of_others(response, logged_in.user.id)


def clear_login(response: Response) -> None:
    """Log the browser out."""
    clear_login_cookie(response)
    _clear_session_of_others(response, None)


def announce_login(response: Response, user_id: UUID) -> None:
    """Tell the streams of ended logins once the browser has its new one: a page that hears of it asks at once which
    user it has, and with the old cookie would be told that it has none."""
    revocations, before = context().services.revocations, login_before()
    response.call_on_close(lambda: revocations.announce(user_id))
    if before is not None:
        response.call_on_close(lambda: revocations.announce(before.login_id))


def _clear_session_of_others(response: Response, user_id: UUID | None) -> None:
    """Clear the session cookie when it names a session that the browser's user can't open."""
    credential = session_cookie()
    if credential is None:
        return
    session = context().services.session_queries.find_session(credential.session_id)
    proved = credential.secret is not None if session is None else session.owner_id in (None, user_id)
    if not proved:
        clear_session_cookie(response)
