"""PostgreSQL behind one address: an answer under way when the primary dies, or says nothing any more, and its standby
takes over."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from core.stores.database import Database
from core.stores.tables import Message
from tests.engines.installation import LEASE, Guest, Installation, guest
from tests.support.cable import Cable
from tests.support.postgres import Postgres
from tests.support.provider import ProviderServer
from tests.support.standby import Standby
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """A model server of this test's own."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.mark.parametrize("end", ["dies", "freezes"])
def test_an_owned_answer_is_whole_with_the_new_primary(
    end: str, provider: ProviderServer, own_valkey: Valkey, tmp_path: Path
) -> None:
    primary = Postgres()
    direct = primary.create()
    standby = Standby(primary)
    address = Cable(primary)
    installation = Installation(tmp_path, provider, own_valkey.url, address.url(direct))
    provider.go_on.clear()
    try:
        with guest(installation.web.url, "paused", account=True) as someone:
            someone.ask()
            someone.begun()
            lost_at = time.monotonic()
            if end == "dies":
                primary.kill()
            else:
                primary.freeze()
            standby.promote()
            address.lead_to(standby)
            failover = time.monotonic() - lost_at
            # The words need no database, and their end waits for it.
            someone.begun(len(someone.text()) + 3)
            provider.go_on.set()
            assert someone.ended() == "done"
            assert someone.longest_pause() < LEASE + failover + 5
            # The front end gives up the old primary's connections one after the other, each after its deadline.
            assert someone.text() == wait_for(lambda: _read(someone), seconds=20, what="the conversation is read")
            promoted = Database(standby.url_of(direct))
            with promoted.reading() as db:
                assert db.scalar(select(Message.text).where(Message.role == "assistant")) == someone.text()
            promoted.dispose()
            # And the session is locked for nobody.
            wait_for(lambda: someone.asks("And then?"), seconds=20, what="another question is taken")
    finally:
        installation.close()
        address.close()
        standby.close()
        primary.kill()
        primary.close()


def _read(someone: Guest) -> str:
    page = someone.http.get("/session/messages")
    return str(page.json()["messages"][-1]["text"]) if page.status_code == 200 else ""
