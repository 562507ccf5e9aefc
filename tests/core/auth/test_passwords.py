import subprocess
import sys
import threading
import time
import unicodedata
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters

from core.auth.passwords import Passwords
from core.errors import PasswordRefused, Unavailable

GOOD = "correct horse battery staple"


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords()


def test_the_hash_is_argon2id_with_owasps_minimum(passwords: Passwords) -> None:
    parameters = extract_parameters(passwords.hash(GOOD))
    assert (parameters.type.name, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        "ID",
        19456,
        2,
        1,
    )


def test_a_password_opens_its_own_hash_only(passwords: Passwords) -> None:
    stored = passwords.hash(GOOD)
    assert passwords.verify(GOOD, stored)
    for wrong in ("", GOOD.upper(), GOOD + " ", GOOD[:-1]):
        assert not passwords.verify(wrong, stored)
    assert not passwords.verify(GOOD, "no hash at all")


def test_a_long_password_counts_to_its_last_character(passwords: Passwords) -> None:
    long = "ä" * 127
    stored = passwords.hash(long + "a")
    assert passwords.verify(long + "a", stored)
    assert not passwords.verify(long + "b", stored)


def test_the_same_characters_in_another_form_are_the_same_password(passwords: Passwords) -> None:
    assert passwords.verify("Caf\u0065\u0301 Zürich", passwords.hash("Caf\u00e9 Zürich"))


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "has 0 characters"),
        ("sh0rt!!", "has 7 characters; it needs at least 8"),
        ("e\u0301" * 7, "has 7 characters"),
        ("🎉" * 7, "has 7 characters"),
        ("x" * 129, "has 129 characters; it may have at most 128"),
        ("password", "3,000 most common"),
        ("PassWord", "3,000 most common"),
        ("12345678", "3,000 most common"),
        ("qwertyuiop", "3,000 most common"),
    ],
)
def test_a_bad_choice_is_refused_with_its_reason(passwords: Passwords, password: str, reason: str) -> None:
    with pytest.raises(PasswordRefused, match=reason):
        passwords.check(password)


@pytest.mark.parametrize("password", [GOOD, "🎉" * 8, "x" * 128, " " * 8, "пароль длинный", "nul\0 is fine"])
def test_anything_else_may_be_chosen(passwords: Passwords, password: str) -> None:
    passwords.check(password)


def test_three_thousand_that_are_long_enough_are_refused(passwords: Passwords) -> None:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    common = [word for word in FREQUENCY_LISTS["passwords"] if len(word) >= 8]
    for word in common[:3000]:
        with pytest.raises(PasswordRefused):
            passwords.check(word)
    passwords.check(common[3000])


def test_without_a_stored_hash_the_work_is_the_same(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_on: list[Any] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, stored: str, password: bytes) -> bool:
        worked_on.append(extract_parameters(stored))
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    assert not passwords.verify(GOOD, passwords.hash("something else"))
    assert not passwords.verify(GOOD, None)
    assert worked_on[0] == worked_on[1]
    assert len(worked_on) == 2


def test_a_hash_with_other_parameters_is_outdated(passwords: Passwords) -> None:
    assert passwords.outdated(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD))
    assert not passwords.outdated(passwords.hash(GOOD))


def test_only_so_many_hash_at_once_and_the_rest_are_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()

    def held(self: PasswordHasher, stored: str, password: bytes) -> bool:
        entered.set()
        return leave.wait(10)

    monkeypatch.setattr(PasswordHasher, "verify", held)
    passwords = Passwords(at_once=1, patience=0.05)
    thread = threading.Thread(target=passwords.verify, args=(GOOD, None))
    thread.start()
    assert entered.wait(10)
    with pytest.raises(Unavailable) as refused:
        passwords.verify(GOOD, None)
    assert refused.value.retry_after
    leave.set()
    thread.join(10)
    assert passwords.verify(GOOD, None)  # the turn was given back


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
from core.auth.passwords import Passwords

passwords, ticks, hashing = Passwords(at_once=1), [], True

def tick():
    while hashing:
        ticks.append(1)
        gevent.sleep(0.001)

ticker = gevent.spawn(tick)
for _ in range(3):
    gevent.sleep(0)
    before = len(ticks)
    assert passwords.verify("secret", passwords.hash("secret"))
    assert len(ticks) > before + 2, (before, len(ticks))
hashing = False
ticker.join()
"""


def test_under_gevent_streams_go_on_while_a_password_is_hashed() -> None:
    subprocess.run([sys.executable, "-c", UNDER_GEVENT], check=True, timeout=60)


MARKS = "\u0301\u0316" * 60_000
"""Normalising these took a minute."""


def test_a_password_too_long_to_be_one_is_refused_before_it_is_normalised(passwords: Passwords) -> None:
    began = time.process_time()
    with pytest.raises(PasswordRefused, match="at most 128"):
        passwords.check(MARKS)
    assert not passwords.verify(MARKS, passwords.hash(GOOD))
    assert time.process_time() - began < 1


def test_a_password_too_long_to_be_one_is_verified_like_a_wrong_one(passwords: Passwords) -> None:
    stored = passwords.hash(GOOD)
    began = time.process_time()
    passwords.verify("x" * 100, stored)
    wrong = time.process_time() - began
    began = time.process_time()
    assert not passwords.verify("x" * 1_000_000, stored)
    assert time.process_time() - began > wrong / 3


def test_every_password_of_128_characters_may_be_chosen_in_any_form(passwords: Passwords) -> None:
    in_pieces = unicodedata.normalize("NFD", "\u1f82" * 128)
    assert len(in_pieces) == 4 * 128
    passwords.check(in_pieces)
    assert passwords.verify("\u1f82" * 128, passwords.hash(in_pieces))


def test_a_wrong_password_prints_no_traceback_in_gevents_pool() -> None:
    """As the web process does it: in a thread of gevent's pool, which prints what leaves it."""
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "from core.auth.passwords import Passwords\n"
        "p = Passwords()\n"
        "print([p.verify('wrong', stored) for stored in (p.hash('right right'), None, 'no hash')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("[False, False, False]\n", "")
