"""The counts of tokens in a refusal: pure, over its objects and its words."""

import re
from typing import Any

_NUMBER = r"([0-9][0-9,_.']{0,14}+)"  # all of it: a part of a number is another one
_PROMPT = [
    rf"{_NUMBER} (?:tokens )?(?:in|from|of) (?:the |your )?(?:messages|prompt|input|text input)",
    rf"messages resulted in {_NUMBER} tokens",
    rf"{_NUMBER} (?:input|prompt) tokens",
    rf"requested (?:about |tokens )?\(?{_NUMBER}",
    rf"current length is {_NUMBER}",
    rf"(?:prompt|request|input)\b[^0-9]{{0,40}}{_NUMBER}(?:\)| tokens?\b| exceeds)",
    rf"too long: {_NUMBER}",
    rf"(?:input|prompt) token count\b[^0-9]{{0,5}}{_NUMBER}",
    rf"输入(?:长度)?(?:为|是)?\W{{0,2}}{_NUMBER}",
    rf"limit: {_NUMBER} \+",
    rf"(?<![0-9.,])(?<!_tokens: ){_NUMBER} ?> ?[0-9]",  # such a name is of the answer's limit
    rf"keep the first {_NUMBER}",
    rf"(?:given|received):? {_NUMBER}",
    rf"request contains {_NUMBER}",
    rf"(?:prompt|input) (?:length|tokens|is) \(?{_NUMBER}",
    rf"n_keep: {_NUMBER}",
    rf"{_NUMBER} tokens? (?:>|exceeds?)",
]
_LIMIT = [
    rf"n_ctx: {_NUMBER}",
    rf"max(?:imum)? context (?:length|size|window)[^0-9]{{0,30}}{_NUMBER}",
    # What "exceeds limit (2013)" is a code of MiniMax's.
    rf"context(?: (?:length|size|window|limit))?\b[^0-9]{{0,40}}(?<!exceeds limit \(){_NUMBER}(?! \+)",
    rf"must (?:be|have) (?:<=?|less than|at most) {_NUMBER}",
    rf"(?:can)?not exceed (?:\w+ )?\(?{_NUMBER}",
    rf"supports up to {_NUMBER}",
    rf"(?:上限|最多|最大长度)(?:为|是)?\W{{0,2}}{_NUMBER}",
    rf"max_seq_len {_NUMBER}",
    rf"{_NUMBER} (?:tokens? )?max(?:imum)?\b",
    rf"max(?:imum)?\b[^0-9]{{0,60}}{_NUMBER}",
    rf"limit(?: for this model)?(?: is| of)?[: ]+{_NUMBER}(?! \+)",
    rf"length should be \[[01], ?{_NUMBER}\]",
    rf"> ?{_NUMBER}",
]
_PROMPTS, _LIMITS = ([re.compile(pattern, re.IGNORECASE) for pattern in patterns] for patterns in (_PROMPT, _LIMIT))
_PROMPT_KEYS = ("n_prompt_tokens", "prompt_tokens", "input_tokens")
_LIMIT_KEYS = ("n_ctx", "max_context_length", "context_length", "max_tokens_allowed")


_MAX_OUTPUT = [
    rf"only afford {_NUMBER}",
    rf"> ?{_NUMBER}",
    rf"(?:at most|<=?|less than(?: or equal to)?|not exceed)\W{{0,3}}{_NUMBER}",
    rf"not (?:be )?(?:greater|larger|more) than\W{{0,3}}{_NUMBER}",
    rf"\[ ?[0-9]+ ?, ?{_NUMBER} ?\]",
    rf"max(?:imum)?\b[^0-9]{{0,60}}{_NUMBER}",
    rf"limit(?: is| of)?[: ]+{_NUMBER}",
]
_MAX_OUTPUTS = [re.compile(pattern, re.IGNORECASE) for pattern in _MAX_OUTPUT]


def token_counts(records: list[dict[str, Any]], message: str) -> tuple[int | None, int | None]:
    """The tokens of a conversation that is too long, and the most that it may have, where the server says so."""
    return (
        _by_key(records, _PROMPT_KEYS) or _by_pattern(_PROMPTS, message),
        _by_key(records, _LIMIT_KEYS) or _by_pattern(_LIMITS, message),
    )


def max_output_tokens(message: str) -> int | None:
    """How many tokens may be asked for, in a sentence that refuses a greater number of them."""
    return _by_pattern(_MAX_OUTPUTS, message)


def _by_key(records: list[dict[str, Any]], keys: tuple[str, ...]) -> int | None:
    counts = (record.get(key) for record in records for key in keys)
    return next((count for count in counts if type(count) is int and 0 < count < 10**9), None)


def _by_pattern(patterns: list[re.Pattern[str]], text: str) -> int | None:
    for pattern in patterns:
        if match := pattern.search(text):
            digits = re.sub(r"[^0-9]", "", re.sub(r"\.[0-9]{0,2}$", "", match[1]))  # 5.000 are more than 5000.0
            if 0 < len(digits) < 10 and int(digits) > 0:
                return int(digits)
    return None
