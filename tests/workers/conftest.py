"""A worker process under pytest-celery, and the parts of a web process beside it, for the whole directory.

The fixtures of pytest-celery that would start containers are overridden by ones that start local processes. A
worker's start costs more than most tests, so it is shared; a test names the state that it needs: `worker` or
`no_worker`.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from threading import Event as Flag

import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup

from core.errors import Unavailable
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import Redis
from tests.support.provider import ProviderServer
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.workers.conversation import Conversation
from tests.workers.local_process import Broker, ValkeyProcess, Worker, WorkerProcess
from web.commands import Commands
from web.streaming.hub import Hub


@pytest.fixture(scope="package")
def provider() -> Iterator[ProviderServer]:
    """A model server of this directory's own, because the worker's answers go on between tests."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture
def go_on(provider: ProviderServer) -> Iterator[Flag]:
    """Holds the answers of the model `paused` until it is set."""
    provider.go_on.clear()
    yield provider.go_on
    provider.go_on.set()


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest, valkey: Valkey, provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """The options that the worker and the tests share: once with SQLite, once with PostgreSQL."""
    directory = tmp_path_factory.mktemp("workers")
    if request.param == "sqlite":
        database_url = f"sqlite:///{directory / 'test.db'}"
        shutil.copy(request.getfixturevalue("_migrated_sqlite"), directory / "test.db")
    else:
        database_url = request.getfixturevalue("postgres").create()
    models = directory / "models.toml"
    # How soon a silent provider is given up is tested elsewhere; here a slow machine must not look like one.
    models.write_text(provider.models_toml().replace("_timeout = 0.6", "_timeout = 20"))
    return Settings(
        _env_file=None,
        configured_redis_url=valkey.url,
        configured_database_url=database_url,
        models_path=models,
        state_dir=directory,
        lease="1.5s",
    )


@pytest.fixture(scope="package")
def runtime(settings: Settings) -> Iterator[Runtime]:
    """The parts of a web process."""
    parts = Runtime(settings)
    parts.redis.flushall()
    yield parts
    parts.close()


@pytest.fixture(scope="package")
def redis(runtime: Runtime) -> Redis:
    """The Redis that the worker and the tests share."""
    return runtime.redis


@pytest.fixture(scope="package")
def celery_broker(valkey: Valkey) -> Broker:
    """Overrides pytest-celery's choice of brokers in containers."""
    return Broker(ValkeyProcess(valkey))


@pytest.fixture
def celery_backend_cluster() -> None:
    """None: replies are our own (core/messaging/replies.py)."""


@pytest.fixture(scope="package")
def celery_setup_app(celery_broker: Broker) -> Celery:
    """Overrides the sender's app of pytest-celery: configured as the web process configures its own."""
    app = Celery("tests", set_as_current=False)
    app.config_from_object("celery_config")
    app.conf.broker_url = celery_broker.config()["host_url"]
    return app


@pytest.fixture(scope="package")
def celery_worker(settings: Settings, celery_setup_app: Celery, redis: Redis) -> Iterator[Worker]:
    """Overrides the worker in a container. Not started yet: see `worker`."""
    environment = {
        "REDIS_URL": settings.redis_url,
        "DATABASE_URL": settings.database_url,
        "SWITCHBOARD_MODELS": str(settings.models_path),
        "SWITCHBOARD_STATE_DIR": str(settings.state_dir),
        "SWITCHBOARD_LEASE": f"{settings.lease.total_seconds()}s",
    }
    node = Worker(WorkerProcess(settings.state_dir, environment, redis), celery_setup_app)
    yield node
    node.teardown()


@pytest.fixture
def worker(celery_setup: CeleryTestSetup) -> Worker:
    """The worker, consuming. Started only if no test before has left it so."""
    node = celery_setup.worker
    assert isinstance(node, Worker)
    node.ensure_running()
    return node


@pytest.fixture
def no_worker(celery_setup: CeleryTestSetup) -> Worker:
    """The worker, stopped: commands wait in their queues."""
    node = celery_setup.worker
    assert isinstance(node, Worker)
    node.container.stop(timeout=20)
    return node


@pytest.fixture(scope="package")
def commands(settings: Settings, runtime: Runtime, celery_setup_app: Celery) -> Commands:
    """The web process's end of the queues."""
    # The hub listens as long as the process lives, so its connection is not the runtime's, which is closed.
    hub = Hub(Runtime(settings).redis)

    def listens() -> bool:
        with suppress(Unavailable), hub.expect("nothing"):
            return True
        return False

    wait_for(listens, seconds=30, what="the hub is connected, on a machine that is busy")
    return Commands(celery_setup_app, hub, runtime.replies)


@pytest.fixture
def conversation(runtime: Runtime, commands: Commands) -> Conversation:
    """An anonymous session whose model is `good`, and what one does with it."""
    return Conversation(runtime, commands, "good")
