"""One line for each answer that has ended, at the level info: how and why, how long it took, what it counts for."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.generation.attempts import Attempt
from core.stores.tables import GenerationState

logger = logging.getLogger(__name__)


def log_answer(attempt: Attempt, state: GenerationState, data: Mapping[str, Any], ended_at: datetime) -> None:
    """Log the end of an answer: `data` is its terminal event's. Times are from the question on; that to the first
    token is missing when an attempt before this one has written it."""
    if not logger.isEnabledFor(logging.INFO):
        return
    usage = attempt.usage
    logger.info(
        "answer ended",
        extra={
            "request_id": attempt.request_id,
            "session_id": str(attempt.session_id),
            "generation_id": str(attempt.generation_id),
            "model": data.get("model") or attempt.handovers.model,
            "attempt": attempt.number,
            "outcome": state.value,
            "reason": data.get("problem", {}).get("reason") or data["finish_reason"],
            "first_token_ms": _milliseconds(attempt, attempt.draft.begun_at),
            "ms": _milliseconds(attempt, ended_at),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
    )


def _milliseconds(attempt: Attempt, at: datetime | None) -> int | None:
    """From the question on. The servers' clocks need not agree."""
    if at is None or attempt.asked_at is None:
        return None
    return max(0, round((at - attempt.asked_at).total_seconds() * 1000))
