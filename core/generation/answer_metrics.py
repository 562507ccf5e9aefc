"""What is counted of answers, for /metrics: a function of their rows.

The names are OpenTelemetry's, where its conventions for generative AI have one
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/): of the client for the tokens, which the models'
servers have counted, and of the server for the times, for which the people who ask here wait. Buckets are the
conventions', and more above them, for models that compute on a CPU. No label names a provider: the names of models
are the operator's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from core.generation.finalizer import DEFAULT_REASONS
from core.stores.samples import counted
from core.stores.tables import LIVE, Generation, GenerationState

DELETED = "deleted"
"""The outcome, and the reason, of an answer whose session was deleted before its end."""
TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
DURATION_BUCKETS = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    163.84,
    327.68,
)
QUEUE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
"""Up to the longest that an answer can wait."""
MODEL = "gen_ai_request_model"


class AnswerMetrics:
    """The metrics, in a registry of their own."""

    def __init__(self, models: Iterable[str] = ()) -> None:
        """What is rare begins at 0 for these models, so that the first time shows as an increase."""
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "switchboard_answers",
            "Answers that have ended, by the model that wrote the end, how and why.",
            ["model", "outcome", "reason"],
            registry=self.registry,
        )
        self._takeovers = Counter(
            "switchboard_takeovers",
            "Attempts at answers whose worker was lost, counted when the answer has ended.",
            ["model"],
            registry=self.registry,
        )
        self._hand_offs = Counter(
            "switchboard_hand_offs",
            "Answers that a worker which was told to stop has handed on, counted when the answer has ended.",
            ["model"],
            registry=self.registry,
        )
        self._fallbacks = Counter(
            "switchboard_fallbacks",
            "How often another model was asked in place of one that had failed, by the model that was asked for.",
            ["model"],
            registry=self.registry,
        )
        self._handovers = Counter(
            "switchboard_handovers",
            "Answers that a person has had another model carry on, by that model, counted when the answer has ended.",
            ["model"],
            registry=self.registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of each answer and of its prompt, as the model's server has counted them, or else estimated.",
            ["gen_ai_operation_name", MODEL, "gen_ai_token_type"],
            buckets=TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._reasoning = Counter(
            "switchboard_reasoning_tokens",
            "Tokens of answers that are thinking; they are among the output's.",
            ["model"],
            registry=self.registry,
        )
        self._first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the question to the first word of its answer or of the thinking for it, the queue included.",
            ["gen_ai_operation_name", MODEL],
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From the question to the end of its answer, the queue included.",
            ["gen_ai_operation_name", MODEL],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._waited = Histogram(
            "switchboard_answer_queue_wait_seconds",
            "From the question to the claim by its first worker; of answers that had one worker.",
            ["model"],
            buckets=QUEUE_BUCKETS,
            registry=self.registry,
        )
        for model in models:
            for rare in (self._takeovers, self._hand_offs, self._fallbacks, self._handovers):
                rare.labels(model)

    def observe(self, answer: Generation) -> None:
        """Count an answer that has ended, or is deleted."""
        model = answer.answered_by or answer.model
        outcome, reason = _end(answer)
        self._answers.labels(model, outcome, reason).inc()
        self._takeovers.labels(answer.model).inc(max(answer.attempt - 1 - answer.hand_offs, 0))
        self._hand_offs.labels(answer.model).inc(answer.hand_offs)
        self._fallbacks.labels(answer.model).inc(answer.fallbacks)
        for handover in answer.handovers or ():
            if handover["at"] >= (answer.kept_length or 0):  # the others were of the answer that it goes on with
                self._handovers.labels(handover["to"]).inc()
        for kind, tokens in (("input", answer.prompt_tokens), ("output", answer.completion_tokens)):
            if tokens:
                self._tokens.labels("chat", model, kind).observe(tokens)
        self._reasoning.labels(model).inc(answer.reasoning_tokens or 0)
        if answer.first_token_at is not None:
            self._first_token.labels("chat", model).observe(_seconds(answer, answer.first_token_at))
        if answer.finished_at is not None:
            self._duration.labels("chat", model).observe(_seconds(answer, answer.finished_at))
        if answer.attempt == 1 and answer.started_at is not None:
            self._waited.labels(answer.model).observe(_seconds(answer, answer.started_at))


def count(answers: Sequence[Generation]) -> Mapping[str, float]:
    """How much these answers add to each sample."""
    metrics = AnswerMetrics()
    for answer in answers:
        metrics.observe(answer)
    return counted(metrics.registry)


def _end(answer: Generation) -> tuple[str, str]:
    state = GenerationState(answer.state)
    if state in LIVE:
        return DELETED, DELETED
    return state, answer.finish_reason or DEFAULT_REASONS[state]


def _seconds(answer: Generation, at: datetime) -> float:
    """From the question on. The servers' clocks need not agree to the millisecond."""
    return max((at - answer.created_at).total_seconds(), 0.0)
