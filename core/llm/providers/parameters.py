"""What a request has besides the conversation, and what of it a server refuses: pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from core.llm.providers.base import ErrorKind, Turn
from core.llm.providers.errors import LIMITS, Complaint

STREAM = "stream"
"""Left out, the answer is asked for as one document."""
SYSTEM = "system"
"""What stands for the system's role among the parameters that are left out."""
TEMPERATURE = "temperature"
DISPENSABLE = (
    *(*LIMITS, STREAM, "stream_options", TEMPERATURE, "reasoning_effort", "output_config", "thinking"),
    *("top_p", "stop", "stop_sequences", "seed", "presence_penalty", "frequency_penalty", "user", "metadata"),
)
"""What an answer can do without when a server does not take it."""
_ALSO = {
    STREAM: r"['\"`]stream['\"`]|\bstreaming is not supported",
    "stream_options": r"include[_-]?usage",
    "reasoning_effort": r"reasoning\.effort|support thinking|thinking (?:level|budget)|(?:reasoning|budget \d+) is ",
}
"""Other words for them; for `stream`, which is a word of many sentences, instead of its name."""
_ADVICE = re.compile(
    r"""
    \b(?:when|if|while|unless|because)\b[^.]*        # what else is so
    | (?<=[.!;]\ )(?:please\ )?(?:use|try|consider|supported)\b.*   # what would be right
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SYSTEM_REFUSED = re.compile(
    r"""
    system\ role\ (?:is\ )?not\ supported | does\ not\ support\ (?:the\ )?'?"?(?:system|developer)\b
    | only\ user\ and\ assistant\ roles | (?:system|developer)\ (?:messages?|instructions?|prompts?)\b.{0,40}\bnot\b
    | messages\[0\]\.role | conversation\ roles\ must\ alternate\ user
    | role\ '?"?system'?"?\ (?:is\ )?(?:not|invalid|unsupported)
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Adjustment(NamedTuple):
    """How a request differs from the usual."""

    omit: frozenset[str] = frozenset()
    rename: Mapping[str, str] = {}

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.omit or self.rename)

    def __or__(self, other: "Adjustment") -> "Adjustment":
        """Both. What is renamed is not left out, and the other way round: the second one knows better."""
        omit = (self.omit - other.rename.keys()) | other.omit
        rename = {**self.rename, **other.rename}
        return Adjustment(omit, {old: new for old, new in rename.items() if old not in omit})


def adjusted(parameters: Mapping[str, Any], adjustment: Adjustment) -> dict[str, Any]:
    """The parameters of a request as the server takes them."""
    return {
        adjustment.rename.get(name, name): value for name, value in parameters.items() if name not in adjustment.omit
    }


def refused(complaint: Complaint, parameters: Iterable[str], adjustment: Adjustment, *, system: bool) -> Adjustment:
    """What to do without after this complaint, nothing when it is about something else.

    `parameters`: what was asked with, by our names; `adjustment`: what had been done about them already; `system`:
    whether there was a system's turn.
    """
    if complaint.kind is not ErrorKind.REJECTED and complaint.status != 500:
        return Adjustment()
    if (
        system
        and SYSTEM not in adjustment.omit
        and _SYSTEM_REFUSED.search(" ".join([complaint.message, *complaint.named]))
    ):
        return Adjustment(frozenset({SYSTEM}))
    if complaint.status not in (400, 422) or complaint.ran_out:
        return Adjustment()
    dispensable = set(DISPENSABLE) & set(parameters) - adjustment.omit
    sent = {adjustment.rename.get(name, name): name for name in dispensable}
    if complaint.named:
        named = {name for name in sent if any(name == told or _names(told, name) for told in complaint.named)}
    else:
        message = _ADVICE.sub("", complaint.message)
        named = {name for name in sent if _names(message, name)}
    omit: set[str] = set()
    rename: dict[str, str] = {}
    for name in named:
        other = next((other for other in LIMITS if other not in named and _names(complaint.message, other)), None)
        if name in LIMITS and other and sent[name] not in adjustment.rename:
            rename[sent[name]] = other
        else:
            omit.add(sent[name])
    return Adjustment(frozenset(omit), rename)


def _names(message: str, parameter: str) -> bool:
    """Whether the sentence has the parameter's name, in whichever spelling, or another word for it."""
    plain = rf"(?<![\w-]){re.escape(parameter).replace('_', '[_-]?')}(?![\w-])"
    also = _ALSO.get(parameter)
    pattern = plain if also is None else also if parameter == STREAM else f"{plain}|{also}"
    return re.search(pattern, message, re.IGNORECASE) is not None


def without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with the system's text at the beginning of the first question."""
    system = [turn.text for turn in turns if turn.role == "system"]
    others = [turn for turn in turns if turn.role != "system"]
    if not system:
        return others
    if others and others[0].role == "user":
        return [Turn("user", "\n\n".join([*system, others[0].text])), *others[1:]]
    return [Turn("user", "\n\n".join(system)), *others]
