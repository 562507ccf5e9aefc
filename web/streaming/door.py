"""The door through which readers join: a few for each turn of the event loop, however many come at once."""

import time
from threading import Semaphore

AT_ONCE = 8
"""Readers that begin in one turn of the loop. What each of them costs is what an event may have to wait for it."""
TURN = 0.001
"""Seconds. Only a timer sends through the loop and not just to the next greenlet."""

_door = Semaphore(AT_ONCE)


def wait_for_turn() -> None:
    """Wait until the loop has looked after the readers that are here, and those that came to the door before."""
    with _door:
        time.sleep(TURN)
