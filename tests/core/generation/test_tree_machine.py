"""Whatever is done to a conversation in whatever order, it is the tree that a simple model of it says."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import update

from core.conversation.keys import keys
from core.conversation.message import Message
from core.errors import AnswerWhole, NothingToRegenerate, SessionExpired
from core.generation.accepted import Accepted
from core.generation.wishes import CURRENT_LEAF
from core.runtime import Runtime
from core.stores.tables import Session
from tests.conftest import new_user
from tests.support.chat_templates import render
from tests.support.provider import ProviderServer

MODELS = ("good", "echo-length", "unauthorized")
"""One that answers, one whose answers are cut off, and one that fails."""
ANYWHERE = st.integers(0, 10**6)
"""A message, by a number that is taken modulo how many there are, counted from the newest."""


@dataclass
class Node:
    """A message, as the model has it."""

    id: str
    parent: str | None
    role: str
    text: str
    cut: bool = False
    """Whether it ended with `length`."""


@dataclass
class Tree:
    """The model: messages in the order in which they were said, and to which branch its holder has turned."""

    nodes: list[Node] = field(default_factory=list)
    turned_to: tuple[str, str] | None = None

    def node(self, message_id: str | None) -> Node | None:
        """The message of this id."""
        return next((node for node in self.nodes if node.id == message_id), None)

    def children(self, parent: str | None) -> list[str]:
        """The ids of what follows it."""
        return [node.id for node in self.nodes if node.parent == parent]

    def leaf(self) -> Node | None:
        """The end of the current branch."""
        if not self.nodes:
            return None
        if self.turned_to is not None and self.turned_to[1] == self.nodes[-1].id:
            return self.node(self.turned_to[0])
        return self.nodes[-1]

    def branch(self) -> list[Node]:
        """The current branch, oldest first."""
        path, node = list[Node](), self.leaf()
        while node is not None:
            path.append(node)
            node = self.node(node.parent)
        return path[::-1]

    def newest_below(self, message_id: str) -> str:
        """Where the branch through a message ends that was used last."""
        below = {message_id}
        newest = message_id
        for node in self.nodes:
            if node.parent in below:
                below.add(node.id)
                newest = node.id
        return newest


class TreeMachine(RuleBasedStateMachine):
    """One conversation, a guest's at first. What may be done while an answer is written can be added in a subclass:
    `take` leaves it waiting for a worker, and `end` has the model know its end."""

    runtime: ClassVar[Runtime]
    provider: ClassVar[ProviderServer]

    @initialize()
    def begin(self) -> None:
        """A session in which nothing has been said."""
        self.tree = Tree()
        with self.runtime.database.writing() as db:
            self.session = self.runtime.sessions.create_session(db, secret_hash=bytes(32), model="good")

    def pick(self, number: int) -> Node | None:
        """One of the messages, more likely a new one."""
        return self.tree.nodes[-1 - number % len(self.tree.nodes)] if self.tree.nodes else None

    def stored(self) -> dict[str, Message]:
        """All messages by their ids."""
        return {message.id: message for message in self.runtime.transcript.oldest_first(self.session)}

    def take_question(self, text: str, parent: Node | None, *, named: bool, model: str) -> tuple[Accepted, Node]:
        """Ask; the question stays without an answer until it `ends`."""
        where: Any = CURRENT_LEAF
        if named:
            where = None if parent is None else UUID(parent.id)
        else:
            parent = self.tree.leaf()
        known = set(self.stored())
        accepted = self.runtime.generations.accept(self.session, text, parent=where, model=model)
        (question_id,) = set(self.stored()) - known - {str(accepted.generation_id)}
        question = Node(question_id, None if parent is None else parent.id, "user", text)
        self.tree.nodes.append(question)
        return accepted, question

    def end(self, accepted: Accepted, question: Node, *, write: bool = True) -> None:
        """Have the answer written, and the model know it."""
        if write:
            asked = len(self.provider.requests)
            self.runtime.writer.run()
            for request in self.provider.requests[asked:]:
                system, *turns = request["messages"]
                assert system["role"] == "system"
                render("gemma", turns)
                render("mistral", request["messages"])
                assert question.text in turns[-1]["content"]
        answer = self.stored()[str(accepted.generation_id)]
        cut = answer.finish_reason == "length"
        self.tree.nodes.append(Node(answer.id, question.id, "assistant", answer.text, cut))

    @rule(number=ANYWHERE, named=st.booleans(), model=st.sampled_from(MODELS), text=st.sampled_from("abc"))
    def ask(self, number: int, named: bool, model: str, text: str) -> None:
        """Go on, edit, or begin again."""
        parent = self.pick(number) if number % 7 else None
        self.end(*self.take_question(f"{text}{len(self.tree.nodes)}?", parent, named=named, model=model))

    @rule(number=ANYWHERE, named=st.booleans(), model=st.sampled_from(MODELS))
    def regenerate(self, number: int, named: bool, model: str) -> None:
        """Another answer."""
        node = self.pick(number) if named else self.tree.leaf()
        question = node if node is None or node.role == "user" else self.tree.node(node.parent)
        message_id = UUID(node.id) if named and node else None
        if question is None or question.role != "user":
            with pytest.raises(NothingToRegenerate):
                self.runtime.generations.regenerate(self.session, message_id, model=model)
            return
        self.end(self.runtime.generations.regenerate(self.session, message_id, model=model), question)

    @rule(number=ANYWHERE, named=st.booleans())
    def go_on(self, number: int, named: bool) -> None:
        """More of an answer."""
        node = self.pick(number) if named else self.tree.leaf()
        message_id = UUID(node.id) if named and node else None
        if node is None or not node.cut or self.tree.children(node.id):
            with pytest.raises(AnswerWhole):
                self.runtime.generations.continue_answer(self.session, message_id)
            return
        self.runtime.generations.continue_answer(self.session, message_id)
        self.runtime.writer.run()
        text = self.stored()[node.id].text
        assert text.startswith(node.text)
        node.text = text
        self.tree.turned_to = (node.id, self.tree.nodes[-1].id)

    @precondition(lambda self: self.tree.nodes)
    @rule(number=ANYWHERE)
    def turn_to(self, number: int) -> None:
        """Another branch."""
        node = self.pick(number)
        assert node is not None
        leaf = self.runtime.actions.branch(self.session, UUID(node.id))
        assert str(leaf) == self.tree.newest_below(node.id)
        self.tree.turned_to = (str(leaf), self.tree.nodes[-1].id)

    @rule(number=ANYWHERE, named=st.booleans())
    def stop(self, number: int, named: bool) -> None:
        """Stop an answer before its first word."""
        accepted, question = self.take_question("Stop?", self.pick(number), named=named, model="good")
        self.runtime.generations.stop(self.session)
        self.end(accepted, question, write=False)

    @rule(number=ANYWHERE, again=st.booleans())
    def take_back(self, number: int, again: bool) -> None:
        """What could not be answered leaves nothing."""
        node = self.pick(number)
        if again and node is not None and (node.role == "user" or self.tree.node(node.parent)):
            accepted = (
                self.runtime.generations.regenerate(self.session, UUID(node.id)) if self.answers(node) else None
            )
        else:
            accepted, _ = self.take_question("Lost?", node, named=bool(number % 2), model="good")
            self.tree.nodes.pop()
        if accepted is not None:
            self.runtime.admission.retract(accepted.generation_id)

    def answers(self, node: Node) -> bool:
        """Whether there is a question for it."""
        question = node if node.role == "user" else self.tree.node(node.parent)
        return question is not None and question.role == "user"

    @precondition(lambda self: self.session.anonymous)
    @rule()
    def claim(self) -> None:
        """A guest logs in."""
        self.session = self.runtime.actions.claim(self.session, new_user(self.runtime.database))
        assert not self.runtime.redis.exists(keys(self.session.id).words)

    @precondition(lambda self: len(self.tree.nodes) > 4)
    @rule()
    def expire(self) -> None:
        """The session's time is over; another begins."""
        past = self.session.created_at - timedelta(days=200)
        with self.runtime.database.writing() as db:
            db.execute(update(Session).where(Session.id == self.session.id).values(expires_at=past))
        with pytest.raises(SessionExpired):
            self.runtime.generations.accept(self.session, "Late?")
        self.runtime.sweeper.sweep_expired()
        assert not self.runtime.redis.exists(*keys(self.session.id))
        assert not self.stored()
        self.begin()

    @invariant()
    def it_is_the_tree_that_the_model_says(self) -> None:
        """The current branch, in pages of any size, and all of it."""
        if not hasattr(self, "tree"):
            return
        branch = self.tree.branch()
        expected = [(node.id, node.parent, node.role, node.text, self.tree.children(node.parent)) for node in branch]
        assert [
            (each.id, each.parent, each.role, each.text, list(each.siblings or ())) for each in self.pages(50)
        ] == expected
        assert [each.id for each in self.pages(3)] == [node.id for node in branch]
        assert [(each.id, each.parent, each.text) for each in self.stored().values()] == [
            (node.id, node.parent, node.text) for node in self.tree.nodes
        ]

    def pages(self, limit: int) -> list[Message]:
        """What readers have who read all pages."""
        read: list[Message] = []
        before: str | None = None
        while True:
            page = self.runtime.transcript.read(self.session, UUID(before) if before else None, limit)
            read = [*page.messages, *read]
            before = page.before
            if before is None:
                return read


@pytest.fixture
def runtime(settings: Any, any_database_url: str) -> Iterator[Runtime]:
    """The parts of a process, on either database, for those who are never told to wait."""
    names = ("messages_anonymous", "messages_user", "tokens_anonymous", "tokens_user")
    off = {f"limit_{name}": None for name in names}
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url, **off}))
    yield parts
    parts.close()


def test_a_conversation_is_the_tree_that_its_steps_have_made(runtime: Runtime, provider: ProviderServer) -> None:
    class Machine(TreeMachine):
        pass

    Machine.runtime, Machine.provider = runtime, provider
    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
