"""Arguments of SessionService as applications have them, checked before any of them reaches SQL. Pure."""

from uuid import UUID

from core.errors import SessionInvalid
from core.secret import DIGEST_BYTES, parse_id


def parse_session_id(session_id: UUID | str) -> UUID:
    """A session's id as a UUID.

    Raises SessionInvalid for text that is no UUID in its canonical spelling: no session has such an id. Raises
    TypeError for anything but a UUID or text.
    """
    _require_type("session_id", session_id, (UUID, str), "a UUID or its text")
    parsed = parse_id(session_id) if isinstance(session_id, str) else session_id
    if parsed is None:
        raise SessionInvalid
    return parsed


def parse_user_id(user_id: UUID | str | None) -> UUID | None:
    """A user's id as a UUID, or None for an anonymous caller.

    Raises ValueError for text that is no UUID in its canonical spelling: a user's id comes from the application,
    and an owner must not be mistaken for an anonymous caller. Raises TypeError for anything else.
    """
    if user_id is None:
        return None
    _require_type("user_id", user_id, (UUID, str), "a UUID or its text")
    parsed = parse_id(user_id) if isinstance(user_id, str) else user_id
    if parsed is None:
        raise ValueError("user_id is not a UUID")
    return parsed


def require_secret_hash(secret_hash: bytes | None) -> None:
    """Raise TypeError for anything but bytes or None. Bytes of any number can be compared with a hash."""
    if secret_hash is not None:
        _require_type("secret_hash", secret_hash, (bytes,), "bytes")


def require_new_secret_hash(secret_hash: bytes | None) -> None:
    """Raise ValueError for bytes of a number that no hash has, and TypeError as `require_secret_hash`."""
    require_secret_hash(secret_hash)
    if secret_hash is not None and len(secret_hash) != DIGEST_BYTES:
        raise ValueError(f"secret_hash must be {DIGEST_BYTES} bytes, not {len(secret_hash)}")


def require_model_name(model: str | None) -> None:
    """Raise TypeError for anything but text or None. Which names are on offer is the catalog's to say."""
    if model is not None:
        _require_type("model", model, (str,), "text")


def require_version(version: int | None) -> None:
    """Raise TypeError unless this is a whole number or None. A bool is no number."""
    if version is not None and type(version) is not int:
        raise TypeError(f"version must be an int, not {type(version).__name__}")


def _require_type(name: str, value: object, types: tuple[type, ...], wanted: str) -> None:
    if not isinstance(value, types):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
