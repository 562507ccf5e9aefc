"""Try the stores of the environment's settings, in a process of its own: what that loads would stay in one that has
no other use for it. With `--at-once` a store that is away is not waited for."""

import sys

from core.operations.preflight.environment import settings_of_process
from core.operations.preflight.stores import require_stores, store_checks

settings = settings_of_process()
require_stores(
    store_checks(
        redis_url=settings.redis_url,
        broker_url=settings.broker_url,
        database_url=settings.database_url,
        migrated=True,
    ),
    waits="--at-once" not in sys.argv,
)
