"""The words by which servers tell what is wrong: their codes, their sentences, and the figures in them."""

import re
from typing import Any

from core.providers import ErrorKind

_CODES = {
    ErrorKind.TOO_LONG: """
        context_length_exceeded exceed_context_size_error exceed_context_size request_too_large
        string_above_max_length tokens_limit_reached model_max_prompt_tokens_exceeded input_too_long prompt_too_long
        context_window_exceeded contextwindowexceedederror
    """,
    ErrorKind.FILTERED: """
        content_filter content_policy_violation content_filtered responsibleaipolicyviolation data_inspection_failed
        moderation safety prohibited_content prompt_blocked recitation blocklist contentpolicyviolationerror
        content_filter_error moderation_blocked sensitive_content
    """,
    ErrorKind.QUOTA: """
        insufficient_quota billing_error billing_not_active billing_hard_limit_reached insufficient_balance
        insufficient_credits payment_required quota_exceeded credit_balance_too_low exceeded_current_quota_error
        spend_limit_reached budget_exceeded arrearage
    """,
    ErrorKind.MODEL_NOT_FOUND: """
        model_not_found deploymentnotfound invalid_model model_not_exist unknown_model model_decommissioned
        model_not_available operationnotsupported unsupported_model model_not_supported
    """,
    ErrorKind.UNAUTHORIZED: """
        invalid_api_key authentication_error permission_error permission_denied unauthenticated unauthorized
        invalid_authentication access_denied forbidden account_deactivated authentication_failed
        api_key_invalid invalid_token authenticationerror
    """,
    ErrorKind.RATE_LIMITED: """
        rate_limit_exceeded rate_limit_error rate_limit_reached_error rate_limited too_many_requests requests tokens
        overloaded_error overloaded engine_overloaded engine_overloaded_error resource_exhausted server_busy
        throttling slow_down over_capacity capacity_exceeded ratelimiterror throttlingexception
        service_tier_capacity_exceeded
    """,
    ErrorKind.TIMEOUT: "timeout_error timeout deadline_exceeded request_timeout gateway_timeout",
    ErrorKind.SERVER_ERROR: """
        server_error internal_server_error api_error internal internal_error unavailable service_unavailable
        unavailable_error internalservererror bad_gateway upstream_error
    """,
    ErrorKind.REJECTED: """
        invalid_request_error invalid_argument badrequesterror bad_request invalid_request invalid_prompt
        invalid_parameter unsupported_parameter unsupported_value invalid_value failed_precondition
        validation_error unprocessable_entity
    """,
}
CODES = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
"""What a code or a type means, in small letters with underscores."""

_SAID = [
    (
        ErrorKind.TOO_LONG,
        r"""
        maximum\ context\ length | max(?:imum)?\ (?:model|sequence|prompt|input)\ length
        | context[ _-]?(?:length|window|size|limit)\b.{0,80}?(?:exceed|too\ small|only\ \d|overflow)
        | exceed\w*\b.{0,80}\bcontext\b | context\ the\ overflows | context\ (?:is|was)\ (?:too\ long|full)
        | (?:prompt|input|request|conversation|messages?|context)(?:\[\d+\]\S*)?\b.{0,60}\btoo\ (?:long|large|big)
        | (?:request|prompt|input)\ too\ (?:long|large|big) | too\ many\ (?:input\ |prompt\ )?tokens
        | messages?\b\S*:\ string\ too\ long | reduce\ the\ length\ of
        | (?:prompt|input)\b.{0,40}\btokens?\b.{0,60}\b(?:exceeds?|more\ than|longer\ than|greater\ than)
        | (?:prompt|input|requested?)\b.{0,30}\b\d[\d,]*\)?\ tokens?\b.{0,60}\bcontext\b
        | (?:prompt|input|sequence)\ (?:length|size|tokens?)\b.{0,40}\b(?:greater|longer|more|larger)\ than
        | tokens\b.{0,60}\bmust\ be\ (?:<|less|at\ most) | prompt\ cannot\ exceed
        | exceed\w*\ (?:the\ )?model(?:'s)?\ token\ limit | range\ of\ input\ length
        | number\ of\ tokens\b.{0,60}\bgreater\ than\ the\ context
        | (?:prompt|input)\b.{0,60}\bexceeds?\b.{0,60}\b(?:tokens|length|limit)
        """,
    ),
    (
        ErrorKind.FILTERED,
        r"""
        content\ (?:management\ )?policy | content[ _-]?filter(?:ed|ing)? | \bmoderation\b | \bwas\ flagged\b
        | flagged\ (?:as|for|by) | guardrail | inappropriate\ content | usage\ guidelines | usage\ polic
        | safety\ (?:system|filter|settings|policy|reasons) | responsible\ ai
        | prohibited\ content | content\ exists\ risk
        | blocked\ (?:by|due\ to)\b.{0,40}\b(?:safety|policy|filter|guardrail|content)
        """,
    ),
    (
        ErrorKind.QUOTA,
        r"""
        insufficient\ (?:balance|quota|credits?|funds) | exceeded\ your\ current\ quota
        | credit\ balance\ is\ too\ low | budget\ has\ been\ exceeded
        | (?:more|not\ enough|out\ of|add|purchase)\ credits | billing\ (?:hard\ )?limit | payment\ required
        | check\ your\ plan\ and\ billing | account\ is\ not\ active | spend(?:ing)?\ limit
        """,
    ),
    (
        ErrorKind.MODEL_NOT_FOUND,
        r"""
        \bmodels?\b.{0,120}\b(?:not\ found|does\ not\ exist|doesn't\ exist|not\ exist|is\ not\ (?:available|loaded)
            |has\ been\ (?:deprecated|decommissioned|removed)|is\ not\ supported\ for\ generatecontent)
        | (?:invalid|unknown|no\ such|unsupported)\ model\b(?!\ (?:output|response|input))
        | not\ a\ valid\ model | no\ models?\ (?:is\ )?loaded
        | does\ not\ have\ access\ to\ (?:the\ )?model | no\ endpoints\ found | deployment\b.{0,60}does\ not\ exist
        | unable\ to\ access\ model | ^model:\ \S+$ | :\ model:\ \S+$
        """,
    ),
    (
        ErrorKind.UNAUTHORIZED,
        r"""
        (?:invalid|incorrect|wrong|missing|no)\ api[ -]?key
        | api[ -]?key\ (?:is\ )?(?:not\ valid|invalid|missing|expired)
        """,
    ),
]
_PATTERNS = [(kind, re.compile(pattern, re.VERBOSE | re.IGNORECASE)) for kind, pattern in _SAID]


def kind_by_words(message: str) -> ErrorKind | None:
    """What the sentence says is wrong, if it is one of those that a code is often missing for."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(message)), None)


_FIGURE = r"([0-9][0-9,_.']{0,14}+)"  # all of it: a part of a figure is another one
_PROMPT = [
    rf"{_FIGURE} (?:tokens )?(?:in|from|of) (?:the |your )?(?:messages|prompt|input|text input)",
    rf"messages resulted in {_FIGURE} tokens",
    rf"{_FIGURE} (?:input|prompt) tokens",
    rf"requested (?:about |tokens )?\(?{_FIGURE}",
    rf"current length is {_FIGURE}",
    rf"(?:prompt|request|input)\b[^0-9]{{0,40}}{_FIGURE}(?:\)| tokens?\b)",
    rf"too long: {_FIGURE}",
    rf"limit: {_FIGURE} \+",
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
    rf"context(?: (?:length|size|window|limit))?\b[^0-9]{{0,40}}{_FIGURE}(?! \+)",
    rf"must be (?:<=?|less than|at most) {_FIGURE}",
    rf"cannot exceed {_FIGURE}",
    rf"max_seq_len {_FIGURE}",
    rf"{_FIGURE} (?:tokens? )?max(?:imum)?\b",
    rf"max(?:imum)?\b[^0-9]{{0,60}}{_FIGURE}",
    rf"limit(?: is)?[: ]+{_FIGURE}(?! \+)",
    rf"length should be \[[01], ?{_FIGURE}\]",
    rf"> ?{_FIGURE}",
]
_PROMPTS, _LIMITS = ([re.compile(pattern, re.IGNORECASE) for pattern in patterns] for patterns in (_PROMPT, _LIMIT))
_PROMPT_KEYS = ("n_prompt_tokens", "prompt_tokens", "input_tokens")
_LIMIT_KEYS = ("n_ctx", "max_context_length", "context_length", "max_tokens_allowed")


def figures(records: list[dict[str, Any]], message: str) -> tuple[int | None, int | None]:
    """How many tokens a conversation that is too long has, and how many it may have, where the server says so."""
    return (
        _given(records, _PROMPT_KEYS) or _found(_PROMPTS, message),
        _given(records, _LIMIT_KEYS) or _found(_LIMITS, message),
    )


def _given(records: list[dict[str, Any]], keys: tuple[str, ...]) -> int | None:
    counts = (record.get(key) for record in records for key in keys)
    return next((count for count in counts if type(count) is int and 0 < count < 10**9), None)


def _found(patterns: list[re.Pattern[str]], text: str) -> int | None:
    for pattern in patterns:
        if match := pattern.search(text):
            digits = re.sub(r"[^0-9]", "", match[1])
            if 0 < len(digits) < 10 and int(digits) > 0:
                return int(digits)
    return None
