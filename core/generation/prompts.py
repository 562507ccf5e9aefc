"""What a model is asked with: as much of the conversation as fits into its context, and less when it takes less."""

from itertools import chain
from typing import NamedTuple

from core.conversation.session_settings import SessionSettings
from core.conversation.transcript import Asked, Transcript
from core.errors import GenerationLost
from core.generation import usage
from core.generation.answer_requests import AnswerRequest, AnswerRequests
from core.generation.attempts import Attempt, LeaseLost, Prefetched
from core.generation.context_window import Figures, Fitting, TooLong, Window
from core.generation.history import Prompt, fit
from core.generation.known_limits import KnownLimits
from core.generation.prompt_variants import PromptVariant, next_variant
from core.generation.request_prompt import request_prompt, tokens_too_many
from core.generation.token_size import TokenSizes
from core.llm.client_pool import ClientPool
from core.llm.providers.base import NO_SAMPLING, ErrorKind, ProviderError, Sampling, Turn, Usage
from core.stores.database import Database
from core.stores.tables import Session

LOST = "The conversation has been lost. Please ask again."


class Prompts:
    """Of all answers."""

    def __init__(
        self,
        database: Database,
        transcript: Transcript,
        pool: ClientPool,
        token_sizes: TokenSizes,
        known_limits: KnownLimits,
        requests: AnswerRequests,
    ) -> None:
        self._database = database
        self._transcript = transcript
        self._pool = pool
        self.token_sizes = token_sizes
        self.known_limits = known_limits
        self._requests = requests

    def begin(self, attempt: Attempt, model: str, after: ProviderError | None) -> "PromptRetries":
        """What one model is asked with for the answer, or for the rest of it. Raises GenerationLost when the question
        is not known any more, LeaseLost when the session is gone, and TooLong for a request's conversation that is
        more than the model's context."""
        return PromptRetries(self, attempt, model, after)

    def fitting(self, model: str) -> Fitting:
        """How much of a conversation the model is asked with at first."""
        config = self._pool.config(model)
        window = Window.for_model(config, self.token_sizes.for_model(model), self.known_limits.for_model(model))
        return Fitting(window, config.label, self._pool.system_prompt)

    def variant(self, model: str) -> PromptVariant:
        """How the model is told a conversation at first."""
        return PromptVariant(self._pool.config(model).prefill)

    def request(self, attempt: Attempt) -> AnswerRequest | None:
        """The request that the answer is for, if it brought its own conversation. Raises GenerationLost."""
        return self._requests.read(attempt.session_id) if attempt.ephemeral else None

    def require_context(self, model: str, request: AnswerRequest) -> None:
        """Raise TooLong when the request's conversation is more than the model's context."""
        config = self._pool.config(model)
        size = self.token_sizes.for_model(model)
        tokens = tokens_too_many(config, self._pool.system_prompt, request.turns, size)
        if tokens is not None:
            limit = config.context_tokens
            unasked = ProviderError(ErrorKind.TOO_LONG, f"about {tokens} tokens of {limit}, not asked")
            raise TooLong("conversation", "This conversation", tokens, limit, config.label, unasked)

    def make_for_request(
        self, attempt: Attempt, model: str, request: AnswerRequest, variant: PromptVariant
    ) -> Prompt:
        """The request's conversation, and what there is of the answer."""
        return request_prompt(
            self._pool.system_prompt,
            request.turns,
            attempt.draft.text,
            prefill=variant.prefill,
            system_turn="system" not in self._pool.config(model).omit,
        )

    def make(self, attempt: Attempt, model: str, window: Window, variant: PromptVariant) -> "Made":
        """The conversation, and what there is of the answer."""
        messages, settings = self._conversation(attempt)
        system_prompt = with_instructions(self._pool.system_prompt, settings.system_prompt)
        prompt = fit(
            window,
            system_prompt,
            messages,
            attempt.draft.text,
            variant=variant,
            system_turn="system" not in self._pool.config(model).omit,
        )
        if prompt is None:
            raise GenerationLost(LOST)
        return Made(prompt, system_prompt, settings)

    def _conversation(self, attempt: Attempt) -> Asked:
        """From the question backwards, read as it is taken."""
        outdated = bool(attempt.prefetched)  # a guest's session may have been claimed since
        known = attempt.prefetched.pop() if outdated else self._read(attempt)
        before, settings = self._transcript.before_answer(
            known.session, attempt.question_id, attempt.message_id, known.newest
        )
        newest = next(before, None)
        # An owned session's question is in SQL, as its generation is; Redis may have lost a guest's.
        if newest is None or (known.session.anonymous and newest.role != "user"):
            if outdated:
                return self._conversation(attempt)
            raise GenerationLost(LOST)
        return Asked(chain([newest], before), settings)

    def _read(self, attempt: Attempt) -> Prefetched:
        with self._database.reading() as db:
            session = db.get(Session, attempt.session_id)
        if session is None:
            raise LeaseLost
        return Prefetched(session, None)


class Made(NamedTuple):
    """A prompt, and what of the session it was made with."""

    prompt: Prompt
    system_prompt: str
    """The operator's, with the session's."""
    settings: SessionSettings


def with_instructions(system_prompt: str, instructions: str | None) -> str:
    """The operator's system prompt, and after it the session's own: what comes later is what most models heed, and
    the operator's word comes first whatever a person writes."""
    return "\n\n".join(filter(None, (system_prompt.strip() and system_prompt, instructions)))


class PromptRetries:
    """One model that is asked with another variant of a conversation, or less and less of it, until it takes it."""

    def __init__(self, prompts: Prompts, attempt: Attempt, model: str, after: ProviderError | None) -> None:
        self._prompts = prompts
        self._attempt = attempt
        self._model = model
        self._fitting = prompts.fitting(model)
        self._variant = prompts.variant(model)
        self._request = prompts.request(attempt)
        if self._request is not None:
            prompts.require_context(model, self._request)
        self.sampling = NO_SAMPLING
        """What is asked for besides the conversation."""
        self._prompt = self._make()
        if attempt.draft.text and after is not None:
            self._leave_out_after(after)

    @property
    def turns(self) -> list[Turn]:
        """What to ask with now."""
        return self._prompt.turns

    @property
    def question(self) -> list[Turn]:
        """Of those turns, all but what there is of the answer."""
        return self._prompt.question

    @property
    def prefilled(self) -> bool:
        """Whether the last turn is the answer's beginning, for the server to continue."""
        return self.turns[-1].role == "assistant"

    @property
    def exhausted(self) -> bool:
        """Whether the answer has all the tokens already that it was asked to have at the most."""
        return self.sampling.max_tokens == 0

    def failed(self, error: ProviderError) -> None:
        """The model has given no word of an answer to that. Raises the error to be told when it is not to be asked
        again: TooLong for what is too long, else the same."""
        if error.kind is ErrorKind.TOO_LONG:
            self._narrow(error)
            self._prompt = self._make()
            return
        before = self._prompt
        while self._prompt == before:
            prefilled = self.prefilled and self._variant.prefill  # else its sender has ended it with a model's turn
            variant = next_variant(self._variant, error, prefilled=prefilled, doubtful=before.doubtful)
            if variant is None:
                raise error
            self._variant = variant
            self._prompt = self._make()

    def broke_off(self, error: ProviderError) -> None:
        """The model has failed after words of an answer to that. Raises the same error when there is nothing that
        could be left out of the next request."""
        if not self._leave_out_after(error):
            raise error

    def answered(self, counted: Usage | None) -> None:
        """The provider has answered, and may have counted."""
        if counted is not None and usage.prompt_is_credible(counted.prompt_tokens, usage.prompt(self.turns)):
            self._learn(counted.prompt_tokens)
            self._prompts.known_limits.took(self._model, counted.prompt_tokens)

    def _leave_out_after(self, error: ProviderError) -> bool:
        """Leave out what the next request might break off at again; whether there was something to leave out."""
        before = self._prompt
        variant = next_variant(self._variant, error, prefilled=False, doubtful=before.doubtful)
        if variant is None:
            return False
        self._variant = variant
        self._prompt = self._make()
        return self._prompt.question != before.question

    def _narrow(self, refusal: ProviderError) -> None:
        self._prompts.known_limits.learn(self._model, Figures.from_refusal(refusal, self.turns))
        if self._prompt.least and refusal.prompt_tokens:  # else it is asked again, and counts again
            self._learn(refusal.prompt_tokens)
        self._fitting.refused(self.turns, refusal, least=self._prompt.least)

    def _make(self) -> Prompt:
        if self._request is not None:
            asked = self._request.sampling
            self.sampling = asked._replace(max_tokens=self._tokens_left(asked.max_tokens))
            return self._prompts.make_for_request(self._attempt, self._model, self._request, self._variant)
        made = self._prompts.make(self._attempt, self._model, self._fitting.window, self._variant)
        self._fitting.begins_with(made.system_prompt, own=made.settings.system_prompt is not None)
        self.sampling = Sampling(
            temperature=made.settings.temperature, max_tokens=self._tokens_left(self._attempt.max_tokens)
        )
        return made.prompt

    def _tokens_left(self, limit: int | None) -> int | None:
        draft = self._attempt.draft
        return usage.left(limit, draft.text, draft.thinking.text)

    def _learn(self, prompt_tokens: int) -> None:
        self._prompts.token_sizes.learn(self._model, self._fitting.window, self.turns, prompt_tokens)
