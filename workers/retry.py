"""How often a task is delivered again, declared with the task."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """A number of retries, each after a longer wait."""

    times: int
    delay: float
    """Seconds before the first retry, doubled with each further one."""

    def countdown(self, retries: int) -> float | None:
        """Seconds until the next delivery, after so many retries; None when there is none any more."""
        return None if retries >= self.times else self.delay * 2.0**retries


NO_RETRY = Retry(times=0, delay=0)
