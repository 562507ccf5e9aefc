"""What the domain's values look like as answers."""

from dataclasses import asdict

from flask import Response, request

from core.auth.accounts import ApiKey, Login, User
from core.auth.principal import Principal
from core.conversation.session_settings import SessionSettings
from core.messaging.replies import Reply
from core.sessions.queries import Listed, Session
from web.commands import result_of
from web.context import context
from web.schemas import responses


def session_answer(session: Session) -> responses.Session:
    """A session."""
    return responses.Session(**context().services.sessions.describe(session))


def listed_session_answer(listed: Listed) -> responses.ListedSession:
    """A session in its owner's list, with what a search has found in it."""
    session = listed.session
    found = {} if listed.snippet is None else {"snippet": [piece._asdict() for piece in listed.snippet]}
    return responses.ListedSession(
        **context().services.sessions.describe(session),
        title=session.title,
        last_active_at=listed.place.active_at,
        answering=listed.answering,
        unread=listed.unread,
        **found,
    )


def configured_session_answer(session: Session, settings: SessionSettings) -> responses.ConfiguredSession:
    """A session with its settings."""
    return responses.ConfiguredSession(**context().services.sessions.describe(session), **asdict(settings))


def command_answer(reply: Reply, respond_async: bool, response: Response) -> responses.Session | responses.Pending:
    """A worker's reply about a session; pending, with the task's URL in `Location`, while there is none.

    Raises CommandFailed when the reply is a problem.
    """
    if reply.state == "pending":
        response.headers["Location"] = f"{request.script_root}/tasks/{reply.task_id}"
        if respond_async:
            response.headers["Preference-Applied"] = "respond-async"
        return responses.Pending(state="pending")
    return responses.Session(**(result_of(reply).result or {}))


def task_answer(reply: Reply) -> responses.Task:
    """A command's state, with its result or its problem once there is one."""
    if reply.result is not None:
        return responses.Task(state=reply.state, result=reply.result)
    if reply.problem is not None:
        return responses.Task(state=reply.state, problem=reply.problem)
    return responses.Task(state=reply.state)


def user_answer(user: User) -> responses.User:
    """An account."""
    return responses.User(user_id=user.id, email=user.email)


def login_answer(login: Login, principal: Principal) -> responses.Login:
    """A login; whether it is the principal's current one."""
    return responses.Login(
        id=login.id,
        created_at=login.created_at,
        last_used_at=login.last_used_at,
        expires_at=login.expires_at,
        current=login.id == principal.login_id,
    )


def key_answer(key: ApiKey) -> responses.ApiKey:
    """An API key, without its secret."""
    return responses.ApiKey(id=key.id, name=key.name, created_at=key.created_at, last_used_at=key.last_used_at)
