"""The model keeps its promises, takes every step, breaks without its safeguards, and stands for code that exists."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from tests.protocol.spin import MISSING, MODEL, Verdict, check, is_missing

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()

ROSTERS = {
    "takeovers": "TWO_WORKERS STOP",
    "questions": "TWO_FRONTS CHARACTERS=1",
    "pairs": "TWO_FRONTS TWO_WORKERS CHARACTERS=1 MAX_ATTEMPTS=1",
    "deletes": "TWO_FRONTS DELETE CHARACTERS=1 MAX_ATTEMPTS=1",
    "claims": "DELETE CLAIM CHARACTERS=1 MAX_ATTEMPTS=1",
    "losses": "LOSS TWO_WORKERS OWNED SNAPSHOTS CHARACTERS=1",
    "lost-parts": "LOSS OWNED SNAPSHOTS",
    "lost-deletes": "LOSS DELETE CHARACTERS=1 MAX_ATTEMPTS=1",
    "lost-claims": "LOSS CLAIM CHARACTERS=1 MAX_ATTEMPTS=1",
}
"""Who takes part, together; all of them at once have more orders than can be looked at in a minute."""

TAKEN_OUT = {
    "NO_FENCE": ("TWO_WORKERS", "no_character_lost_or_doubled"),
    "NO_TAKEOVER_BEFORE_END": ("TWO_WORKERS", "no_character_lost_or_doubled"),
    "NO_CHECK_AFTER_APPEND": ("DELETE CHARACTERS=1", "no_word_after_delete"),
    "NO_REMOVALS_OUTBOX": ("DELETE CHARACTERS=1", "no_lease_without_generation"),
    "ONE_REMOVAL_PER_SESSION": ("DELETE CHARACTERS=1", "no_word_after_delete"),
    "NO_SECOND_READ": ("CLAIM CHARACTERS=1", "no_word_after_delete"),
    "NO_REPEATED_RELEASE": ("STOP", "no_lease_without_generation"),
    "NO_DROP_AT_ADMISSION": ("TWO_FRONTS", "no_lease_without_generation"),
    "NO_TOMBSTONE": ("STOP", "one_end_each"),
    "NO_ORDER_OF_IDS": ("TWO_FRONTS CHARACTERS=1", "one_end_each"),
}
"""A safeguard; the roster that misses it, and the promise that is broken without it."""

Check = Callable[[str], Verdict]


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Check]:
    """The verdict on a roster. All are begun with the first that is asked for, one on each core."""
    if is_missing():
        pytest.skip(MISSING)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wanted = [*ROSTERS.values(), *(f"{name} {roster}" for name, (roster, _) in TAKEN_OUT.items())]
        begun: dict[str, Future[Verdict]] = {
            roster: pool.submit(check, tmp_path_factory.mktemp("spin"), *roster.split()) for roster in wanted
        }
        yield lambda roster: begun[roster].result()


@pytest.mark.parametrize("roster", ROSTERS.values(), ids=ROSTERS)
def test_every_order_of_all_steps_keeps_every_promise(verdict: Check, roster: str) -> None:
    assert verdict(roster).broken is None
    assert verdict(roster).states > 80_000  # what a mistake in the model leaves is far smaller


@pytest.mark.parametrize("name", TAKEN_OUT)
def test_without_a_safeguard_a_promise_is_broken(verdict: Check, name: str) -> None:
    roster, promise = TAKEN_OUT[name]
    assert verdict(f"{name} {roster}").broken == promise


def test_every_step_of_the_model_is_taken(verdict: Check) -> None:
    never: dict[str, set[tuple[int, str]]] = {}
    for roster in ROSTERS.values():
        for process, steps in verdict(roster).unreached.items():
            never[process] = never.get(process, steps) & steps
    never.pop("Stop")  # it ends answers as the reaper does, and is not tried with a Redis that forgets
    promises = set(re.findall(r"(\w+) = true", MODEL.read_text().split("#define must")[0]))
    left = {
        (process, *step)
        for process, steps in never.items()
        for step in steps
        if not promises & set(re.findall(r"\w+", step[1])) and step[1] != "-end-" and "= 0" not in step[1]
    }
    # The reaper's own calls are not refused.
    assert {each for each in left if each[0] != "Reaper" or each[2] != "r = 1"} == set()


STEPS = re.findall(r"^\| `(\w+)` \| (`core/.*?) \|", DOCUMENT, re.MULTILINE)
"""The document's tables: a name in the model, and the code that it stands for."""


@pytest.mark.parametrize(("step", "code"), STEPS, ids=[step for step, _ in STEPS])
def test_a_step_of_the_model_stands_for_code_that_exists(step: str, code: str) -> None:
    assert re.search(rf"\b{step}\b", MODEL.read_text())
    for module, name in re.findall(r"`(core/[\w/]+)\.py` `([\w.]+)`", code):
        found = import_module(module.replace("/", "."))
        for part in name.split("."):
            found = getattr(found, part)


def test_the_document_tells_of_every_step_and_safeguard() -> None:
    told = {step for step, _ in STEPS}
    in_model = set(re.findall(r"^(?:proctype|inline) (\w+)", MODEL.read_text(), re.MULTILINE))
    assert {"log_begin", "log_write", "log_end", "tell", "Front", "Claim"} <= in_model
    assert in_model - told == {"copy", "dies_with", "forget_row", "forget_words", "forget_log", "Redis", "Observer"}
    promises = {promise for _, promise in TAKEN_OUT.values()}
    assert [name for name in {*TAKEN_OUT, *promises} if f"`{name}`" not in DOCUMENT] == []
