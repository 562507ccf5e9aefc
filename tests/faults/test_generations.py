"""Answers, while at random moments what writes them is killed, stopped, frozen, restarted, doubled or told to stop.

The seeds are printed. FAULTS_SEED=17 begins with that one, FAULTS_RUNS=200 makes more runs.
"""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.errors import NothingToStop
from core.generation.attempts import MAX_ATTEMPTS
from core.limits.rate_limit import PREFIX
from core.sessions.actions import Switch
from core.sessions.credential import Credential
from core.stores.tables import Generation, GenerationState, Session
from tests.conftest import new_user
from tests.faults.fleet import AWAY, LEASE, Fleet
from tests.faults.reader import Reader
from tests.support.counted import total
from tests.support.postgres import Postgres
from tests.support.provider import STORY, THOUGHT, ProviderServer
from tests.support.told import Told
from tests.support.waiting import wait_for

RUNS = int(os.environ.get("FAULTS_RUNS", "3"))
FIRST = int(os.environ.get("FAULTS_SEED", str(random.SystemRandom().randrange(10**6))))
MODELS = ("story", "repeated-story", "unreliable-story", "thoughtful-story")
ANSWERS = 6
"""Generations in one run."""
LASTS = 3.0
"""Seconds over which a run's faults are spread."""
ENDED = 25.0
"""Seconds after the last fault within which every answer must have ended."""
TOKENS = ("input", "output")
TERMINAL = (GenerationState.DONE, GenerationState.STOPPED, GenerationState.FAILED)

pytestmark = pytest.mark.timeout(120 + 40 * RUNS)


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    """A model server of this module's own, whose stories are told badly by its own dice."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(
    _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer
) -> Iterator[Fleet]:
    """The installation over SQLite, shared by the runs: a worker's start costs more than a run."""
    path = tmp_path_factory.mktemp("faults") / "test.db"
    shutil.copy(_migrated_sqlite, path)
    installation = Fleet(f"sqlite:///{path}", provider)
    yield installation
    installation.close()


@pytest.fixture
def fleet_over_postgresql(postgres: Postgres, postgres_url: str, provider: ProviderServer) -> Iterator[Fleet]:
    """Another one, whose database is restarted too."""
    installation = Fleet(postgres_url, provider, postgres)
    yield installation
    installation.close()


@dataclass
class Asked:
    """A question, and what a reader has seen of its answer so far."""

    session: Session
    generation_id: UUID
    task_id: str
    reader: Reader
    """Somebody who reads the same over the web."""
    stop: bool = False
    """Whether somebody has asked for its end."""
    told: Told = field(default_factory=Told)
    cursor: int = 0
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The events' names."""
        return [kind for kind, _ in self.events]

    def read(self, fleet: Fleet) -> None:
        """Go on reading the log, as a stream's reader does."""
        for event in fleet.runtime.log.read(self.session.id, self.cursor).events:
            assert event.offset == self.cursor + 1, f"{self.generation_id}: a gap before {event}"
            self.cursor = event.offset
            data = json.loads(event.data)
            self.events.append((event.type, data))
            self.told.hear(event.type, data)

    @property
    def text(self) -> str:
        """The answer as the reader has it."""
        return self.told.text

    @property
    def ended(self) -> bool:
        """Whether the reader has seen the end."""
        return any(kind in TERMINAL for kind in self.kinds)


def ask(fleet: Fleet, model: str, owned: bool, seed: int = 0) -> Asked:
    """What the web process does with a question, and somebody who reads the answer."""
    owner = new_user(fleet.runtime.database) if owned else None
    guest = Credential.issue()
    with fleet.runtime.database.writing() as db:
        session = fleet.runtime.sessions.create_session(
            db, owner, session_id=guest.session_id, secret_hash=None if owned else guest.secret_hash, model=model
        )
        if owner:
            _, key = fleet.runtime.api_keys.create(owner, "reader", db)
            proof = {"Authorization": f"Bearer {key}", "X-Session-ID": str(session.id)}
        else:
            proof = {"X-Session-ID": str(guest)}
    accepted = fleet.runtime.generations.accept(session, "Tell me the story.")
    # Every other one loses its connection all the time.
    reader = Reader(fleet.web.port, proof, accepted.before, longest=(None, 2000)[seed % 2], seed=seed)
    reader.start()
    return Asked(session, accepted.generation_id, fleet.generate(accepted.generation_id), reader)


class Run:
    """One seed: its answers, and what is done to them when."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.dice = random.Random(seed)
        self.asked: list[Asked] = []
        self.plan: list[tuple[float, str, Callable[[], object]]] = []
        for number in range(ANSWERS):
            model, owned = MODELS[number % len(MODELS)], self.dice.random() < 0.5
            ask = partial(self._ask, model, owned, self.dice.getrandbits(32))
            self._at(self.dice.uniform(0, 1), f"ask {model}", ask)
        # At most two, so that no answer can lose more workers than it may.
        disasters = [self._kill, self._terminate, self._freeze_for_long, self._restart_valkey]
        if fleet.postgres:
            disasters += [self._restart_database, self._crash_database]
        for disaster in self.dice.choices(disasters, k=self.dice.choice([1, 2, 2])):
            disaster(self.dice.uniform(0.3, LASTS))
        nuisances = [
            self._double,
            self._double,
            self._stop,
            self._stop,
            self._freeze,
            self._freeze,
            self._replace_web,
        ]
        for _ in range(2):
            self._hand_over(self.dice.uniform(0.3, LASTS))
        for nuisance in self.dice.choices(nuisances, k=4):
            nuisance(self.dice.uniform(0.3, LASTS))
        self.plan.sort(key=lambda step: step[0])

    def __str__(self) -> str:
        return ", ".join(f"{at:.2f} {what}" for at, what, _ in self.plan)

    def go(self) -> None:
        """Do it all, each at its time, and wait for the ends."""
        began = time.monotonic()
        for at, _, step in self.plan:
            while time.monotonic() < began + at:
                self._read()
                time.sleep(0.02)
            step()
        for worker in self.fleet.workers:
            worker.send(signal.SIGCONT)
            worker.start()
        deadline = time.monotonic() + ENDED
        while not all(asked.ended for asked in self.asked):
            assert time.monotonic() < deadline, f"no end of {[each for each in self.asked if not each.ended]}"
            self._read()
            time.sleep(0.05)

    def _at(self, moment: float, what: str, step: Callable[[], object]) -> None:
        self.plan.append((moment, what, step))

    def _read(self) -> None:
        for asked in self.asked:
            try:
                asked.read(self.fleet)
            except AWAY:
                return

    def _ask(self, model: str, owned: bool, seed: int) -> None:
        with suppress(*AWAY):  # then whoever asks is told so
            self.asked.append(ask(self.fleet, model, owned, seed))

    def _kill(self, at: float) -> None:
        worker = self.dice.choice(self.fleet.workers)
        self._at(at, f"kill {worker.name}", lambda: worker.send(signal.SIGKILL))
        self._at(at + self.dice.uniform(0, 1), f"start {worker.name}", worker.start)

    def _terminate(self, at: float) -> None:
        worker = self.dice.choice(self.fleet.workers)
        self._at(at, f"terminate {worker.name}", lambda: worker.send(signal.SIGTERM))
        self._at(at + self.dice.uniform(0.5, 1.5), f"start {worker.name}", worker.start)

    def _freeze(self, at: float) -> None:
        self._freeze_for(at, self.dice.uniform(0.05, LEASE / 3))

    def _freeze_for_long(self, at: float) -> None:
        self._freeze_for(at, LEASE + self.dice.uniform(0, 2.5))

    def _freeze_for(self, at: float, seconds: float) -> None:
        worker = self.dice.choice(self.fleet.workers)

        def freeze() -> None:
            worker.send(signal.SIGSTOP)
            # Not a step of its own: the next ones may have to wait for a lock that the frozen worker holds.
            threading.Timer(seconds, worker.send, [signal.SIGCONT]).start()

        self._at(at, f"freeze {worker.name} for {seconds:.2f}", freeze)

    def _restart_valkey(self, at: float) -> None:
        self._at(at, "restart Valkey", self.fleet.restart_valkey)

    def _restart_database(self, at: float) -> None:
        assert self.fleet.postgres is not None
        self._at(at, "restart PostgreSQL", self.fleet.postgres.restart)

    def _crash_database(self, at: float) -> None:
        assert self.fleet.postgres is not None
        self._at(at, "crash PostgreSQL", self.fleet.postgres.crash)

    def _replace_web(self, at: float) -> None:
        self._at(at, "replace web", self.fleet.replace_web)

    def _double(self, at: float) -> None:
        number = self.dice.randrange(ANSWERS)
        self._at(at, f"double {number}", lambda: self._with(number, self.fleet.generate))

    def _hand_over(self, at: float) -> None:
        number, model = self.dice.randrange(ANSWERS), self.dice.choice(MODELS)
        self._at(at, f"hand {number} over to {model}", lambda: self._with(number, partial(self._switch, model)))

    def _switch(self, model: str, generation_id: UUID) -> None:
        session = next(each.session for each in self.asked if each.generation_id == generation_id)
        with suppress(*AWAY):
            self.fleet.runtime.actions.switch_models(
                [Switch(session.id, model, session.owner_id, None, uuid7(), live=True)]
            )

    def _stop(self, at: float) -> None:
        number = self.dice.randrange(ANSWERS)
        self._at(at, f"stop {number}", lambda: self._with(number, self._stop_twice))

    def _stop_twice(self, generation_id: UUID) -> None:
        """At once, as two tabs do."""
        asked = next(each for each in self.asked if each.generation_id == generation_id)

        def stop() -> None:
            try:
                self.fleet.runtime.generations.stop(asked.session)
            except (NothingToStop, *AWAY):
                return

        asked.stop = True
        racers = [threading.Thread(target=stop) for _ in range(2)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()

    def _with(self, number: int, do: Callable[[UUID], object]) -> None:
        if number < len(self.asked):
            do(self.asked[number].generation_id)


def verify(fleet: Fleet, asked: Asked) -> str:
    """Everything that must be true of one answer; how it ended."""
    asked.read(fleet)
    asked.reader.calm()
    wait_for(lambda: len(asked.reader.told) >= len(asked.events), what=f"the reader hears all of {asked}")
    assert [(told.type, told.data) for told in asked.reader.told] == asked.events, asked
    assert not asked.reader.failures
    ends = [kind for kind in asked.kinds if kind in TERMINAL]
    assert len(ends) == 1, asked
    assert [kind for kind in asked.kinds if kind != "model"][-1] == ends[0], asked
    assert asked.kinds.count("started") <= 1, asked
    with fleet.runtime.database.reading() as db:
        row = db.get_one(Generation, asked.generation_id)
    assert row.state == ends[0], asked
    words = fleet.runtime.transcript.read(asked.session).messages
    assert [word.role for word in words] == ["user", "assistant"], words
    assert (words[-1].text, words[-1].thinking or "") == (asked.text, asked.told.thinking), asked
    handovers = [data for kind, data in asked.events if kind == "handover"]
    told = [{name: data[name] for name in ("from", "to", "at")} for data in handovers]
    assert (words[-1].handovers or []) == (row.handovers or []) == told, asked
    if row.state == GenerationState.DONE:
        assert asked.text == STORY, asked
    elif row.state == GenerationState.STOPPED:
        assert asked.stop, asked
        assert STORY.startswith(asked.text), asked
    else:
        assert row.attempt > MAX_ATTEMPTS, asked
        assert STORY.startswith(asked.text), asked
    return row.state


def held(fleet: Fleet) -> int:
    """Leases and slots that count, and reservations of tokens."""
    seconds, microseconds = fleet.runtime.redis.time()
    keys = [
        *fleet.runtime.redis.scan_iter(f"{PREFIX}concurrent:*"),
        *fleet.runtime.redis.scan_iter(f"{PREFIX}slots:*"),
    ]
    now = f"({seconds * 1_000_000 + microseconds}"
    reserved = len(list(fleet.runtime.redis.scan_iter(f"{PREFIX}reserved:*")))
    return reserved + sum(int(fleet.runtime.redis.zcount(key, now, "+inf")) for key in keys)


def run(fleet: Fleet, seed: int) -> Counter[str]:
    """One run, and all that must be true after it; how its answers ended."""
    fleet.start()
    before = counted(fleet)
    one = Run(fleet, seed)
    print(f"seed {seed}: {one}")
    one.go()
    ends: Counter[str] = Counter(verify(fleet, asked) for asked in one.asked)
    wait_for(lambda: held(fleet) == 0, seconds=LEASE + 1, what="leases, slots and tokens are given back")
    assert [finding for finding in fleet.runtime.invariants.check() if finding.ids] == []
    happened = Counter(ends)
    for asked in one.asked:
        happened += _happened(fleet, asked)
        asked.reader.close()
        fleet.runtime.actions.end(asked.session)
    gained = counted(fleet)
    gained.subtract(before)
    told, gained["fallbacks"] = gained["fallbacks"], 0
    assert +gained == happened
    # A worker may die between noting a fallback and telling of it: then the next one falls back once more.
    fallbacks = sum(asked.kinds.count("fallback") for asked in one.asked)
    assert fallbacks <= told <= fallbacks + happened["attempts"]
    return ends


def counted(fleet: Fleet) -> Counter[str]:
    """What /metrics has counted of all answers that have ended: the deleted ones, too."""
    while fleet.runtime.tally.count_ended():
        pass
    samples = fleet.runtime.tally.samples()
    again = ("switchboard_takeovers_total", "switchboard_hand_offs_total")
    counts = {str(end): total(samples, "switchboard_answers_total", outcome=end) for end in TERMINAL}
    counts |= {kind: total(samples, "gen_ai_client_token_usage_sum", gen_ai_token_type=kind) for kind in TOKENS}
    counts |= {"attempts": sum(total(samples, name) for name in again)}
    counts |= {"fallbacks": total(samples, "switchboard_fallbacks_total")}
    return Counter({name: int(count) for name, count in counts.items()})


def _happened(fleet: Fleet, asked: Asked) -> Counter[str]:
    """What must be counted of an answer besides its end: its attempts after the first, and its tokens."""
    with fleet.runtime.database.reading() as db:
        row = db.get_one(Generation, asked.generation_id)
    tokens = (row.prompt_tokens or 0, row.completion_tokens or 0)
    return Counter(attempts=max(row.attempt - 1, 0), **dict(zip(TOKENS, tokens, strict=True)))


@pytest.mark.parametrize("installation", ["fleet", "fleet_over_postgresql"])
def test_every_answer_has_one_end_and_every_character_once(
    request: pytest.FixtureRequest, installation: str, provider: ProviderServer
) -> None:
    fleet = request.getfixturevalue(installation)
    ends: Counter[str] = Counter()
    began = time.monotonic()
    for seed in range(FIRST, FIRST + RUNS):
        provider.chance.seed(seed)
        ends += run(fleet, seed)
    print(f"{RUNS} runs in {time.monotonic() - began:.0f} s: {dict(ends)}")


@pytest.mark.timing
@pytest.mark.parametrize(
    ("number", "within"), [(signal.SIGKILL, LEASE + 5), (signal.SIGTERM, 2.0)], ids=["killed", "terminated"]
)
def test_the_other_worker_carries_on_in_time(fleet: Fleet, number: signal.Signals, within: float) -> None:
    fleet.start()
    asked = ask(fleet, "repeated-story", owned=False)
    worker = fleet.owner_of(asked.task_id)
    wait_for(lambda: _seen(fleet, asked, "delta"), what="it begins")

    worker.send(number)
    began = time.monotonic()
    wait_for(lambda: _seen(fleet, asked, "resumed"), what="the other one carries on")
    took = time.monotonic() - began

    print(f"carried on {took:.2f} s after {number.name} (lease {LEASE} s)")
    assert took < within
    wait_for(lambda: _seen(fleet, asked, "done"), seconds=30, what="it ends")
    assert verify(fleet, asked) == "done"


def _seen(fleet: Fleet, asked: Asked, kind: str) -> bool:
    asked.read(fleet)
    return kind in asked.kinds


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
@pytest.mark.parametrize("when", ["thinking", "delta"])
@pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
def test_thinking_begins_again_with_another_worker_until_there_are_words(
    fleet: Fleet, number: signal.Signals, when: str, owned: bool
) -> None:
    fleet.start()
    asked = ask(fleet, "thoughtful-story", owned=owned)
    worker = fleet.owner_of(asked.task_id)
    wait_for(lambda: _seen(fleet, asked, when), what=f"its first {when}")
    worker.send(number)
    wait_for(lambda: _seen(fleet, asked, "resumed"), seconds=LEASE + 10, what="the other one carries on")
    wait_for(lambda: _seen(fleet, asked, "done"), seconds=30, what="it ends")
    assert verify(fleet, asked) == "done"
    resumed = next(data for kind, data in asked.events if kind == "resumed")
    if when == "thinking":
        assert (resumed["thinking"], asked.told.thinking) == (0, THOUGHT)
    else:
        assert (resumed["thinking"], asked.told.thinking) == (len(THOUGHT), 2 * THOUGHT)
    assert [finding for finding in fleet.runtime.invariants.check() if finding.ids] == []
    asked.reader.close()
