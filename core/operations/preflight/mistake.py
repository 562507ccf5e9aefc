"""A mistake of an operator's, in one line."""

from dataclasses import dataclass

from core.text.masking import masked


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a setting, and what would be right. Secrets are left out."""

    setting: str
    """Its name and, where that helps, its value: `REDIS_URL=redis://cache:6379/0`."""
    wrong: str
    right: str
    passing: bool = False
    """Whether it may pass by itself, as when a server is only away: a process that is to run waits for that."""
    harmless: bool = False
    """Whether all works for now: a process that is to run says it, and runs."""

    def __str__(self) -> str:
        return f"{self.setting}: {self.wrong}; {self.right}"


class Misconfigured(Exception):
    """The settings can't be used. The message is one line, without secrets."""


def with_value(variable: str, url: str) -> str:
    """A setting and its URL, without the URL's secrets."""
    return f"{variable}={masked(url)}"
