"""The services of the running system, for a command: a store that can't be used becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.console import fail
from cli.doctor import running_system_settings
from core.text.masking import masked, without_secrets

if TYPE_CHECKING:
    from core.runtime import Runtime


@contextmanager
def services() -> Iterator["Runtime"]:
    """Those of a running `switchboard up`, or else of the environment. Raises CommandError."""
    from sqlalchemy.exc import SQLAlchemyError

    from core.errors import Unavailable
    from core.llm.catalog import ModelConfigError
    from core.operations.preflight.schema import schema_mistake
    from core.runtime import Runtime
    from core.stores.redis import RedisUnavailable

    settings, _ = running_system_settings()
    if mistake := schema_mistake(settings.database_url):
        fail(str(mistake))
    runtime = Runtime(settings, redis_retries=0)
    try:
        yield runtime
    except ModelConfigError as error:
        fail(str(error))
    except RedisUnavailable as error:
        reason = without_secrets(error.cause, settings.redis_url)
        fail(f"Redis at {masked(settings.redis_url)} can't be read: {reason}")
    except (SQLAlchemyError, ImportError, ValueError, Unavailable) as error:
        cause = error.cause if isinstance(error, Unavailable) else error
        reason = str(getattr(cause, "orig", None) or error).strip().splitlines()[0]
        url = settings.database_url
        fail(f"the database {masked(url)} can't be read: {without_secrets(reason, url)}")
    finally:
        runtime.close()
