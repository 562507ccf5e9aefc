"""What a model is asked with: as much of the conversation as fits into its context, and less when it takes less."""

from collections.abc import Iterator
from itertools import chain

from core.answers import usage
from core.answers.attempt import Attempt, Lost
from core.answers.context_window import Fitting, Window
from core.answers.history import Prompt, fit
from core.answers.token_size import TokenSizes
from core.client_pool import ClientPool
from core.database import Database
from core.errors import GenerationLost
from core.message import Message
from core.models import Session
from core.providers import ProviderError, Turn, Usage
from core.transcript import Transcript

LOST = "The conversation has been lost. Please ask again."


class Prompts:
    """Of all answers."""

    def __init__(self, database: Database, transcript: Transcript, pool: ClientPool, token_sizes: TokenSizes) -> None:
        self._database = database
        self._transcript = transcript
        self._pool = pool
        self.token_sizes = token_sizes

    def begin(self, attempt: Attempt, model: str) -> "Asking":
        """What one model is asked with for the answer, or for the rest of it. Raises GenerationLost when the question
        is not known any more, and Lost when the session is gone."""
        return Asking(self, attempt, model)

    def fitting(self, model: str) -> Fitting:
        """How much of a conversation the model is asked with at first."""
        config = self._pool.config(model)
        window = Window.of(config, self.token_sizes.of(model))
        return Fitting(window, config.label, self._pool.system_prompt)

    def make(self, attempt: Attempt, model: str, window: Window) -> Prompt:
        """The conversation, and what there is of the answer."""
        config = self._pool.config(model)
        prompt = fit(
            window,
            self._pool.system_prompt,
            self._conversation(attempt),
            attempt.text,
            prefill=config.prefill,
            system_turn="system" not in config.omit,
        )
        if prompt is None:
            raise GenerationLost(LOST)
        if not attempt.text or not attempt.prompt_tokens:
            attempt.prompt_tokens = usage.prompt(prompt.question)
        return prompt

    def _conversation(self, attempt: Attempt) -> Iterator[Message]:
        """From the question backwards, read as it is taken."""
        with self._database.reading() as db:
            session = db.get(Session, attempt.session_id)
        if session is None:
            raise Lost
        answer = str(attempt.generation_id)
        before = (message for message in self._transcript.newest_first(session) if message.id != answer)
        newest = next(before, None)
        # An owned session's question is in SQL, as its generation is; Redis may have lost a guest's.
        if newest is None or (session.anonymous and newest.role != "user"):
            raise GenerationLost(LOST)
        return chain([newest], before)


class Asking:
    """One model that is asked with less and less of one conversation, until it takes it."""

    def __init__(self, prompts: Prompts, attempt: Attempt, model: str) -> None:
        self._prompts = prompts
        self._attempt = attempt
        self._model = model
        self._fitting = prompts.fitting(model)
        self._prompt = prompts.make(attempt, model, self._fitting.window)

    @property
    def turns(self) -> list[Turn]:
        """What to ask with now."""
        return self._prompt.turns

    def refused(self, refusal: ProviderError) -> None:
        """That was too long. Raises TooLong when the model is not to be asked again."""
        if self._prompt.least and refusal.prompt_tokens:  # else it is asked again, and counts again
            self._learn(refusal.prompt_tokens)
        self._fitting.refused(self.turns, refusal, least=self._prompt.least)
        self._prompt = self._prompts.make(self._attempt, self._model, self._fitting.window)

    def answered(self, usage: Usage | None) -> None:
        """The provider has answered, and may have counted."""
        if usage is not None:
            self._learn(usage.prompt_tokens)

    def _learn(self, prompt_tokens: int) -> None:
        self._prompts.token_sizes.learn(self._model, self._fitting.window, self.turns, prompt_tokens)
