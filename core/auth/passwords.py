"""Passwords: which are good enough, and how they are kept.

The rules are those of NIST SP 800-63B (3.1.1.2) and OWASP ASVS 5 (6.2): a length, a list of common ones, and
nothing about digits or symbols. The hash is argon2id with OWASP's minimum parameters.
"""

import base64
import os
import secrets
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.errors import PasswordRefused, Unavailable

MIN_LENGTH = 8
MAX_LENGTH = 128
"""Characters: Unicode code points after normalisation, each counted once (NIST 800-63B)."""
MAX_INPUT_LENGTH = 4 * MAX_LENGTH
"""Code points before normalisation, which takes time that grows with the square of what it gets, holding the
interpreter. NFC makes one character of four at most, so no password that may be chosen has more."""
COMMON_PASSWORDS = 3_000
"""How many of the most common passwords are refused; those too short anyway don't count (ASVS 6.2.4)."""

ARGON2_MEMORY_KIB = 19 * 1024
"""KiB. With ARGON2_ITERATIONS passes and ARGON2_LANES lanes: OWASP's minimum for argon2id."""
ARGON2_ITERATIONS = 2
ARGON2_LANES = 1
MAX_CONCURRENT_HASHES = max(1, (os.cpu_count() or 2) // 2)
"""Hashes that run at once in one process, so that a crowd at the login leaves processors and memory to the rest."""
HASH_QUEUE_TIMEOUT = 3.0
"""Seconds that a hash waits for its turn."""

Result = TypeVar("Result")


class Passwords:
    """Hashes and verifies. Both take some 40 ms of a processor: never inside a transaction."""

    def __init__(self, *, at_once: int = MAX_CONCURRENT_HASHES, patience: float = HASH_QUEUE_TIMEOUT) -> None:
        self._hasher = PasswordHasher(
            time_cost=ARGON2_ITERATIONS, memory_cost=ARGON2_MEMORY_KIB, parallelism=ARGON2_LANES
        )
        self._turns = BoundedSemaphore(at_once)
        self._patience = patience
        self._decoy = _decoy()

    def check(self, password: str) -> None:
        """Raise PasswordRefused, with the reason, unless the password is one that may be chosen."""
        if len(password) > MAX_INPUT_LENGTH:
            raise PasswordRefused(f"The password is too long; it may have at most {MAX_LENGTH} characters.")
        length = len(_normal(password))
        if length < MIN_LENGTH:
            raise PasswordRefused(f"The password has {length} characters; it needs at least {MIN_LENGTH}.")
        if length > MAX_LENGTH:
            raise PasswordRefused(f"The password has {length} characters; it may have at most {MAX_LENGTH}.")
        if _normal(password).casefold() in _common():
            raise PasswordRefused(f"This password is one of the {COMMON_PASSWORDS:,} most common; choose another.")

    def hash(self, password: str) -> str:
        """The hash, with its parameters and salt, of a password that `check` has let pass.

        Raises Unavailable when too many are being made.
        """
        return self._run(lambda: self._hasher.hash(_bytes(password)))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the one whose hash is stored.

        Without a stored one, and for a password that is too long to be one, the answer is no and takes just as long,
        so that the time does not tell whether there is an account. Raises Unavailable when too many are being
        verified.
        """
        if len(password) > MAX_INPUT_LENGTH:
            password, stored = "", None
        given = _bytes(password)
        return self._run(lambda: self._matches(stored or self._decoy, given))

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, given: bytes) -> bool:
        # Caught here: an exception that leaves a thread of gevent's pool is printed there, with its traceback.
        try:
            return self._hasher.verify(stored, given)
        except (VerificationError, InvalidHashError):
            return False

    def _run(self, work: Callable[[], Result]) -> Result:
        with self._turn():
            return _off_the_loop(work)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._patience):
            raise Unavailable("Too many people are logging in at once; try again in a moment.", retry_after=3)
        try:
            yield
        finally:
            self._turns.release()


def _off_the_loop(work: Callable[[], Result]) -> Result:
    """Run it where it holds up no event stream.

    Under gevent all requests share one thread, which a hash would stop for 40 ms; a native thread does not,
    since argon2 releases the interpreter's lock.
    """
    if "gevent.monkey" not in sys.modules:
        return work()
    from gevent import get_hub, monkey

    if not monkey.is_module_patched("threading"):
        return work()
    result: Result = get_hub().threadpool.apply(work)
    return result


def _normal(password: str) -> str:
    """NFC, so that the same password from another keyboard has the same code points (NIST 800-63B). Nothing else
    is changed: no case, no trimming, no truncation (ASVS 6.2.8)."""
    return unicodedata.normalize("NFC", password)


def _bytes(password: str) -> bytes:
    return _normal(password).encode("utf-8", "surrogatepass")


@cache
def _common() -> frozenset[str]:
    # Imported here: the list takes 30 ms and some megabytes, which workers never need.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    ranked = (word for word in FREQUENCY_LISTS["passwords"] if len(word) >= MIN_LENGTH)
    return frozenset(word.casefold() for word, _ in zip(ranked, range(COMMON_PASSWORDS), strict=False))


def _decoy() -> str:
    """A hash of today's parameters that no password has: verifying it is the same work, and it fails."""

    def random(size: int) -> str:
        return base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()

    return f"$argon2id$v=19$m={ARGON2_MEMORY_KIB},t={ARGON2_ITERATIONS},p={ARGON2_LANES}${random(16)}${random(32)}"
