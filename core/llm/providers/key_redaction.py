"""Takes what looks like a key out of a text of an unknown origin: pure.

Names of models look alike: `hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M`. They are made of words and figures;
keys are not.
"""

import re

from core.llm.providers.redaction_allowlist import ALLOWED

REDACTED = "[...]"
MIN_KEY_LENGTH = 20
"""Characters from which a word may be a key without a prefix that says so."""
MIN_UNBROKEN_LENGTH = 24
"""Letters and digits without a break from which a word is a key: a hash, say."""
MIN_PREFIXED_LENGTH = 8
"""Characters that are enough after a prefix of keys."""

_PREFIXES = r"(?:sk|pk|rk|gsk|xai|hf|nvapi|csk|pplx|ghp|key|fw|r8|tgp|AIza|ya29)"
_ONLY = r"(?:sk|pk|rk|gsk|csk|pplx|nvapi|gh[oprsu]|github_pat|glpat)[-_]+"
"""How keys begin, and hardly any name."""
_SHAPES = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?:AKIA|ASIA)[A-Z0-9]{16} (?![A-Za-z0-9])                              # AWS's ids of keys
    | (?<![A-Za-z0-9]) [0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12} (?![A-Za-z0-9]) # UUIDs
    | (?<![\w/+-]) (?=\S{0,39}[A-Z]) (?=\S{0,39}[a-z]) (?=\S{0,39}[0-9+]) [A-Za-z0-9/+]{40} (?![\w/+=]) # AWS's keys
    """,
    re.VERBOSE,
)
"""What is a key, or as good as one, wherever it stands."""
_TOKEN = re.compile(
    rf"""
    \b(?P<header>Bearer|Basic)\s+ (?P<sent>[^\s"',;]+)
    | (?P<label>\b(?:key|token|secret|password|passwd|credentials?)['"]?(?:\s(?:provided|is|was))?\s*[:=]\s*['"]?)
      (?P<told>[^\s"',;]+)
    | (?P<jwt>\beyJ[\w-]{{8,}}(?:\.[\w-]+)*)
    | (?P<only>(?<![\w-]){_ONLY}[\w/+.*=…-]{{4,}})
    | (?P<any>[\w/+.*=…-]{{{MIN_PREFIXED_LENGTH},}})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ONLY_KEYS = re.compile(rf"{_ONLY}.{{4}}", re.IGNORECASE)
_PREFIXED = re.compile(rf"{_PREFIXES}(?:[-_.]+|(?<=AIza))", re.IGNORECASE)
_MASKED = re.compile(r"\*{2,}|…|\.{3,}\w")
_PART = re.compile(r"[A-Za-z0-9]+")
_BREAK = re.compile(r"[\W_]+")
_WORD = re.compile(r"[A-Z]?[a-z]{1,15}[.:!?]?")
_PASSWORD = re.compile(r"pass|secret", re.IGNORECASE)
_MIXED = re.compile(r"(?=.*\d)(?=.*[A-Za-z])")
_LETTERS = re.compile(rf"(?=.*[a-z])(?=.*[A-Z])[A-Za-z]{{{MIN_UNBROKEN_LENGTH},}}")
_HUMP = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_CHANGES = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")


def without_keys(text: str) -> str:
    """The text with `[...]` for all that looks like a key."""
    return _TOKEN.sub(_redact_token, _SHAPES.sub(REDACTED, text))


def _redact_token(found: re.Match[str]) -> str:
    if found["jwt"] or found["only"]:
        return REDACTED
    if found["any"]:
        return REDACTED if looks_random(found["any"]) else found[0]
    if found["header"]:
        return found[0] if _WORD.fullmatch(found["sent"]) else REDACTED
    words = [part for part in _BREAK.split(found["told"]) if part]
    certain = "provided" in found["label"].lower() or _PREFIXED.match(found["told"]) or _MASKED.search(found["told"])
    if certain or not all(part.isalpha() or part.isdecimal() for part in words):
        is_word = False
    elif _PASSWORD.search(found["label"]):
        is_word = all(part.casefold() in ALLOWED for part in words)
    else:  # the name of a key, say
        is_word = max(map(len, words), default=0) < MIN_KEY_LENGTH
    return found[0] if is_word else found["label"] + REDACTED


def looks_random(token: str) -> bool:
    """Whether this is a key rather than a name: by how it begins, or because it is long and no words."""
    token = token.strip(".-=*/…") if not _MASKED.search(token) else token
    if _ONLY_KEYS.match(token):
        return True
    parts = _PART.findall(token)
    if prefix := _PREFIXED.match(token):
        rest = _PART.findall(token[prefix.end() :])
        if _MASKED.search(token) or any(
            len(part) >= MIN_PREFIXED_LENGTH and (_MIXED.match(part) or len(part) >= MIN_KEY_LENGTH) for part in rest
        ):
            return True
    if any(len(part) >= MIN_UNBROKEN_LENGTH and (_MIXED.match(part) or not _is_words(part)) for part in parts):
        return True
    return len(token) >= MIN_KEY_LENGTH and 4 * len(_CHANGES.findall(token)) >= len(token)


def _is_words(part: str) -> bool:
    """Whether letters without a break may be words, as in `InputTextSensitiveContentDetected`: no more than one of
    them is shorter than three letters."""
    return not _LETTERS.fullmatch(part) or sum(len(hump) < 3 for hump in _HUMP.findall(part)) <= 1
