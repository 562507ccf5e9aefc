"""The access levels of operations, as values: how each is enforced, and what it hands to the handler."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import (
    LoginInvalid,
    LoginRequired,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    TokenInvalid,
)
from core.sessions.credential import Credential
from web.auth.credentials import session_credential
from web.auth.current_session import current_session, optional_session
from web.auth.operator import require_operator
from web.auth.principal import current_principal, person_at_browser, principal_or_ways_in, required_principal
from web.errors import LoginOnly, OperatorOnly, SessionRequired

Requirement = Mapping[str, Sequence[str]]
"""A security requirement object of OpenAPI: all schemes in it together open an operation."""

BY_USER: Sequence[Requirement] = ({"loginCookie": []}, {"bearer": []})
BY_SESSION: Sequence[Requirement] = (
    {"sessionCookie": []},
    {"sessionHeader": []},
    {"sessionCookie": [], "loginCookie": []},
    {"sessionHeader": [], "bearer": []},
)
BY_BOTH: Sequence[Requirement] = (
    {"sessionCookie": [], "loginCookie": []},
    {"sessionCookie": [], "bearer": []},
    {"sessionHeader": [], "loginCookie": []},
    {"sessionHeader": [], "bearer": []},
)
USER_REFUSED = (LoginInvalid, TokenInvalid)
SESSION_REFUSED = (SessionInvalid, SessionExpired, NotOwner, *USER_REFUSED)


@dataclass(frozen=True)
class Access:
    """An access level. `grants` is what it hands to a handler, by argument: each function returns the value or
    raises one of `raises`, and all are called, in order, before the handler."""

    grants: Mapping[str, Callable[[], object]]
    raises: Sequence[type[SwitchboardError]]
    security: Sequence[Requirement]
    """As OpenAPI has it: any one of these requirements is enough; none at all, and the operation is public."""

    def authorise(self) -> dict[str, object]:
        """Check the current request. Raises one of `raises`."""
        return {argument: grant() for argument, grant in self.grants.items()}


def _presented_credential() -> Credential:
    """The session credential that the request presents. Raises SessionRequired or SessionInvalid."""
    credential = session_credential()
    if credential is None:
        raise SessionRequired
    return credential


PUBLIC = Access({}, (), ())
"""Any request; its credentials are not checked."""
OPTIONAL_USER = Access({"principal": current_principal}, USER_REFUSED, ({}, *BY_USER))
"""Any request; a user's credential is checked if there is one."""
OPTIONAL_SESSION = Access(
    {"session": optional_session, **OPTIONAL_USER.grants}, SESSION_REFUSED, ({}, *BY_SESSION, *BY_USER)
)
"""Any request; a session's and a user's credentials are checked if there are any."""
SESSION = Access({"session": current_session}, (SessionRequired, *SESSION_REFUSED), BY_SESSION)
"""The holder of a session: by its secret, or as the user that owns it."""
PRESENTED_CREDENTIAL = Access({"credential": _presented_credential}, (SessionRequired, *SESSION_REFUSED), BY_SESSION)
"""The sender of a session's credential; the handler checks what it proves."""
USER = Access({"principal": required_principal}, (LoginRequired, *USER_REFUSED), BY_USER)
"""A user: by a login, an API key or a token."""
USER_OR_WAYS_IN = Access({"principal": principal_or_ways_in}, USER.raises, USER.security)
"""A user; anybody else learns the ways to get an account here."""
USER_BY_LOGIN = Access(
    {"principal": person_at_browser}, (LoginRequired, LoginOnly, *USER_REFUSED), ({"loginCookie": []},)
)
"""A user who is logged in at a browser: for what a leaked key must not be able to do."""
USER_WITH_SESSION = Access(
    {**USER.grants, **SESSION.grants}, (LoginRequired, SessionRequired, *SESSION_REFUSED), BY_BOTH
)
"""A user who also holds a session, by its secret or as its owner."""
OPERATOR = Access({"operator": require_operator}, (OperatorOnly,), ({}, {"bearer": []}))
"""The operator: from the server's own machine, or with the operator's token."""

LEVELS = (
    *(PUBLIC, OPTIONAL_USER, OPTIONAL_SESSION, SESSION, PRESENTED_CREDENTIAL),
    *(USER, USER_OR_WAYS_IN, USER_BY_LOGIN, USER_WITH_SESSION, OPERATOR),
)
"""All that there are: an operation has one of these themselves, and no copy with other grants."""
