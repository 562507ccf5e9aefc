"""/usage: what a user's answers have come to, and what is left of the limits."""

from datetime import timedelta

from flask import Blueprint

from core.auth.principal import Principal
from core.errors import Unavailable
from core.limits.message_limits import MILLIONTHS, NO_OVERRIDES
from core.limits.status import LimitStatus, RateLimited
from core.llm.prices import money
from core.operations.usage import MAX_DAYS, Amount, DailyUsage, total
from web.api import parameters
from web.api.operation import operation
from web.auth.access import USER_OR_WAYS_IN
from web.context import context
from web.limits import change_limits
from web.schemas import responses

blueprint = Blueprint("usage", __name__, url_prefix="/usage")

DAYS = parameters.number("days", "How many days, today included, in UTC.", MAX_DAYS, 30)


@blueprint.get("")
@operation(access=USER_OR_WAYS_IN, takes=(DAYS,), answers={200: responses.Usage}, raises=(RateLimited,))
def usage(principal: Principal, days: int) -> responses.Usage:
    """Tell what the user's answers have come to, by day and model: tokens, and money by the prices at their ends; and
    what is left of the user's limits."""
    change_limits.admit_read(principal.user_id)
    services = context().services
    wanted = services.usage.last(days)
    rows = services.usage.for_user(principal.user_id, wanted)
    return responses.Usage(
        currency=services.models.currency,
        since=wanted.since,
        until=wanted.until,
        total=responses.UsageTotal(**_amount(total(rows))),
        usage=[responses.DailyUsage(day=row.day, model=row.model, **_amount(row)) for row in rows],
        limits=_limits(principal),
    )


def _limits(principal: Principal) -> list[responses.Limit] | None:
    services = context().services
    own = services.accounts.user(principal).limits or NO_OVERRIDES
    try:
        statuses = services.message_limits.statuses(principal.user_id, own)
    except Unavailable:
        return None
    return [_limit(each) for each in statuses]


def _limit(status: LimitStatus) -> responses.Limit:
    now, shown = context().services.clock.now(), money if status.unit == MILLIONTHS else int
    return responses.Limit(
        name=status.policy,
        quota=shown(status.quota),
        remaining=shown(status.remaining),
        window_seconds=status.window,
        resets_at=None if status.whole_in is None else now + timedelta(seconds=status.whole_in),
    )


def _amount(spent: Amount | DailyUsage) -> dict[str, int | str]:
    return {
        "answers": spent.answers,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "cost": money(spent.cost),
    }
