"""The words by which servers tell what is wrong: their codes, and their sentences."""

import re

from core.llm.providers.base import ErrorKind

_CODES = {
    ErrorKind.TOO_LONG: """
        context_length_exceeded exceed_context_size_error exceed_context_size request_too_large
        string_above_max_length tokens_limit_reached model_max_prompt_tokens_exceeded input_too_long prompt_too_long
        context_window_exceeded contextwindowexceedederror 1261 status_code_1039
    """,
    ErrorKind.FILTERED: """
        content_filter content_policy_violation content_filtered responsibleaipolicyviolation data_inspection_failed
        moderation safety prohibited_content prompt_blocked recitation blocklist contentpolicyviolationerror
        content_filter_error moderation_blocked sensitive_content sensitivecontentdetected
        inputtextsensitivecontentdetected outputtextsensitivecontentdetected 1301 status_code_1026 status_code_1027
    """,
    ErrorKind.QUOTA: """
        insufficient_quota billing_error billing_not_active billing_hard_limit_reached insufficient_balance
        insufficient_credits payment_required quota_exceeded credit_balance_too_low exceeded_current_quota_error
        spend_limit_reached budget_exceeded arrearage insufficient_user_quota pre_consume_token_quota_failed
        allocationquota_freetieronly accountoverdueerror billing_disabled credit_limit 1113 status_code_1008
    """,
    ErrorKind.MODEL_NOT_FOUND: """
        model_not_found deploymentnotfound invalid_model model_not_exist unknown_model model_decommissioned
        model_not_available operationnotsupported unsupported_model model_not_supported endpoint_not_found
        1211
    """,
    ErrorKind.UNAUTHORIZED: """
        invalid_api_key authentication_error permission_error permission_denied unauthenticated unauthorized
        invalid_authentication access_denied forbidden account_deactivated authentication_failed
        api_key_invalid invalid_token authenticationerror organization_restricted status_code_1004
    """,
    ErrorKind.RATE_LIMITED: """
        rate_limit_exceeded rate_limit_error rate_limit_reached_error rate_limited too_many_requests requests tokens
        overloaded_error overloaded engine_overloaded engine_overloaded_error resource_exhausted server_busy
        throttling slow_down over_capacity capacity_exceeded ratelimiterror throttlingexception
        service_tier_capacity_exceeded 1302 1305 status_code_1002
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
"""What a code or a type means, in small letters with underscores. The numbers are Zhipu's and MiniMax's."""

_SAID = [
    (
        ErrorKind.TOO_LONG,
        r"""
        maximum\ context\ length | max(?:imum)?\ (?:supported\ )?(?:model|sequence|prompt|input)\ length
        | max(?:imum)?\ input\ characters | reached\ (?:the\ )?context\ length
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
        | exceeds?\ max(?:imum)?\ (?:length|(?:input|message|prompt)\ tokens)
        | number\ of\ tokens\b.{0,60}\bgreater\ than\ the\ context
        | (?:prompt|input)\b.{0,60}\bexceeds?\b.{0,60}\b(?:tokens|length|limit)
        | (?:prompt|input|conversation)\b.{0,40}\blonger\ than\b.{0,40}\bcontext | sum\ of\ prompt\ length
        | (?:prompt|input)\b.{0,60}\bonly\ supports\ up\ to | must\ have\ less\ than\ \d+\ tokens
        | \bmaxlength:\ \d+,\ actual:\ \d | context\ shift\ is\ disabled | at\ least\ 1,\ got\ (?:-|0\b)
        | 超长 | (?:tokens?|输入|上下文|长度)\S{0,8}超(?:过|出)\S{0,12}(?:上限|限制|最大|长度)
        """,
    ),
    (ErrorKind.EMPTY, r"could\ not\ finish\ the\ message\ because\ max_tokens"),
    (
        ErrorKind.FILTERED,
        r"""
        content[ _]?(?:management\ )?policy | content[ _-]?filter(?:ed|ing)? | \bwas\ flagged\b
        | requires\ moderation | (?:blocked|failed|flagged|rejected|refused)\b.{0,40}\bmoderation\b
        | moderation\ (?:blocked|check|fail|filter|flag|policy|system) | sensitive\ (?:content|information)
        | considered\ high\ risk
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
        | (?:more|not\ enough|out\ of|any|add|purchase)\ credits | billing\ (?:hard\ )?limit | payment\ required
        | check\ your\ plan\ and\ billing | account\ is\ not\ active | spend(?:ing)?\ limit
        | reached\ your\b.{0,40}\busage\ limits? | \bkey\ limit\ exceeded | out\ of\b.{0,20}\bquota
        | quota\ is\ not\ enough | overdue\ balance | free\ (?:tier|allocation)\b.{0,60}\b(?:exhausted|upgrade)
        | requires\ billing | (?:余额|额度)不足 | account\b.{0,20}\bis\ suspended
        """,
    ),
    (ErrorKind.SERVER_ERROR, r"model\ has\ crashed | failed\ to\ load\ model | \bmodel\ unloaded"),
    (ErrorKind.UNREACHABLE, r"unexpected\ endpoint"),  # LM Studio, with a success
    (ErrorKind.REJECTED, r"no\ endpoints\ found\ (?:that\ (?:can\ )?(?:handle|support)|matching)"),
    (
        ErrorKind.MODEL_NOT_FOUND,
        r"""
        \bmodels?\b.{0,120}\b(?:not\ found|does\ not\ exist|doesn't\ exist|not\ exist|is\ not\ (?:available|loaded)
            |has\ been\ (?:deprecated|decommissioned|removed)|is\ not\ supported\ for\ generatecontent)
        | (?:invalid|unknown|no\ such|unsupported)\ model\b(?!\ (?:output|response|input))
        | not\ a\ valid\ model | no\ models?\ (?:is\ )?loaded
        | does\ not\ have\ access\ to\ (?:the\ )?model | no\ endpoints\ found | deployment\b.{0,60}does\ not\ exist
        | access\ to\ the\ model\ with | endpoint\b.{0,60}does\ not\ exist | no\ allowed\ providers
        | only\ supported\ in\ v1/ | not\ a\ chat\ model | does\ not\ support\ chat | reached\ the\ end\ of\ its\ life
        | model\ identifier\ is\ invalid | function\b.{0,80}not\ found\ for\ account | 模型不存在
        | unable\ to\ access\ model | ^model:\ \S+$ | :\ model:\ \S+$
        """,
    ),
    (
        ErrorKind.UNAUTHORIZED,
        r"""
        (?:invalid|incorrect|wrong|missing|no)\ api[ -]?key
        | api[ -]?key\ (?:is\ )?(?:not\ valid|invalid|missing|expired) | invalid\ (?:authorization|credential)
        | organization\ has\ been\ (?:disabled|restricted)
        """,
    ),
    (ErrorKind.RATE_LIMITED, r"\b(?:requests?|rate|qps)\ (?:request\ )?limit\b | not\ available\ right\ now"),
]
_PATTERNS = [(kind, re.compile(pattern, re.VERBOSE | re.IGNORECASE)) for kind, pattern in _SAID]


_PASSING = re.compile(r"right now|\byet\b|\bloading\b|temporarily|please retry|try again in", re.IGNORECASE)
_RATE = re.compile(r"\bper[ -]?(?:second|min|hour|day)|\bTP[MD]\b|please wait|rate limit", re.IGNORECASE)


def kind_by_words(message: str) -> ErrorKind | None:
    """What the sentence says is wrong, if it is one of those that a code is often missing for."""
    kinds = (kind for kind, pattern in _PATTERNS if pattern.search(message))
    passing = _PASSING.search(message) is not None  # what is to come back has not been misspelt
    return next((kind for kind in kinds if not (passing and kind is ErrorKind.MODEL_NOT_FOUND)), None)


def is_of_a_rate(message: str) -> bool:
    """Whether the sentence speaks of what may be asked in a time."""
    return _RATE.search(message) is not None


_FILLED = re.compile(r"at least 1, got (?:-|0\b)", re.IGNORECASE)


def leaves_nothing(message: str) -> bool:
    """Whether the sentence speaks of the limit of an answer that a server has reckoned: what the prompt leaves."""
    return _FILLED.search(message) is not None


_RAN_OUT = re.compile(
    r"could not finish the message because max_tokens|mid-generation context overflow|context shift is disabled",
    re.IGNORECASE,
)


def ran_out(message: str) -> bool:
    """Whether the sentence says that the room for the answer was used up while it was being written."""
    return _RAN_OUT.search(message) is not None
