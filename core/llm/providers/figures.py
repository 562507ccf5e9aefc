"""The figures in a refusal, in tokens: pure, over its objects and its words."""

import re
from typing import Any

_FIGURE = r"([0-9][0-9,_.']{0,14}+)"  # all of it: a part of a figure is another one
_PROMPT = [
    rf"{_FIGURE} (?:tokens )?(?:in|from|of) (?:the |your )?(?:messages|prompt|input|text input)",
    rf"messages resulted in {_FIGURE} tokens",
    rf"{_FIGURE} (?:input|prompt) tokens",
    rf"requested (?:about |tokens )?\(?{_FIGURE}",
    rf"current length is {_FIGURE}",
    rf"(?:prompt|request|input)\b[^0-9]{{0,40}}{_FIGURE}(?:\)| tokens?\b| exceeds)",
    rf"too long: {_FIGURE}",
    rf"(?:input|prompt) token count\b[^0-9]{{0,5}}{_FIGURE}",
    rf"输入(?:长度)?(?:为|是)?\W{{0,2}}{_FIGURE}",
    rf"limit: {_FIGURE} \+",
    rf"(?<![0-9.,])(?<!_tokens: ){_FIGURE} ?> ?[0-9]",  # such a name is of the answer's limit
    rf"keep the first {_FIGURE}",
    rf"(?:given|received):? {_FIGURE}",
    rf"request contains {_FIGURE}",
    rf"(?:prompt|input) (?:length|tokens|is) \(?{_FIGURE}",
    rf"n_keep: {_FIGURE}",
    rf"{_FIGURE} tokens? (?:>|exceeds?)",
]
_LIMIT = [
    rf"n_ctx: {_FIGURE}",
    rf"max(?:imum)? context (?:length|size|window)[^0-9]{{0,30}}{_FIGURE}",
    # What "exceeds limit (2013)" is a code of MiniMax's.
    rf"context(?: (?:length|size|window|limit))?\b[^0-9]{{0,40}}(?<!exceeds limit \(){_FIGURE}(?! \+)",
    rf"must (?:be|have) (?:<=?|less than|at most) {_FIGURE}",
    rf"(?:can)?not exceed (?:\w+ )?\(?{_FIGURE}",
    rf"supports up to {_FIGURE}",
    rf"(?:上限|最多|最大长度)(?:为|是)?\W{{0,2}}{_FIGURE}",
    rf"max_seq_len {_FIGURE}",
    rf"{_FIGURE} (?:tokens? )?max(?:imum)?\b",
    rf"max(?:imum)?\b[^0-9]{{0,60}}{_FIGURE}",
    rf"limit(?: for this model)?(?: is| of)?[: ]+{_FIGURE}(?! \+)",
    rf"length should be \[[01], ?{_FIGURE}\]",
    rf"> ?{_FIGURE}",
]
_PROMPTS, _LIMITS = ([re.compile(pattern, re.IGNORECASE) for pattern in patterns] for patterns in (_PROMPT, _LIMIT))
_PROMPT_KEYS = ("n_prompt_tokens", "prompt_tokens", "input_tokens")
_LIMIT_KEYS = ("n_ctx", "max_context_length", "context_length", "max_tokens_allowed")


_MOST = [
    rf"only afford {_FIGURE}",
    rf"> ?{_FIGURE}",
    rf"(?:at most|<=?|less than(?: or equal to)?|not exceed)\W{{0,3}}{_FIGURE}",
    rf"not (?:be )?(?:greater|larger|more) than\W{{0,3}}{_FIGURE}",
    rf"\[ ?[0-9]+ ?, ?{_FIGURE} ?\]",
    rf"max(?:imum)?\b[^0-9]{{0,60}}{_FIGURE}",
    rf"limit(?: is| of)?[: ]+{_FIGURE}",
]
_MOSTS = [re.compile(pattern, re.IGNORECASE) for pattern in _MOST]


def figures(records: list[dict[str, Any]], message: str) -> tuple[int | None, int | None]:
    """How many tokens a conversation that is too long has, and how many it may have, where the server says so."""
    return (
        _given(records, _PROMPT_KEYS) or _found(_PROMPTS, message),
        _given(records, _LIMIT_KEYS) or _found(_LIMITS, message),
    )


def most_of_an_answer(message: str) -> int | None:
    """How many tokens may be asked for, in a sentence that refuses a greater number of them."""
    return _found(_MOSTS, message)


def _given(records: list[dict[str, Any]], keys: tuple[str, ...]) -> int | None:
    counts = (record.get(key) for record in records for key in keys)
    return next((count for count in counts if type(count) is int and 0 < count < 10**9), None)


def _found(patterns: list[re.Pattern[str]], text: str) -> int | None:
    for pattern in patterns:
        if match := pattern.search(text):
            digits = re.sub(r"[^0-9]", "", re.sub(r"\.[0-9]{0,2}$", "", match[1]))  # 5.000 are more than 5000.0
            if 0 < len(digits) < 10 and int(digits) > 0:
                return int(digits)
    return None
