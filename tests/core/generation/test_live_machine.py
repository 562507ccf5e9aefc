"""What is done while an answer is live leaves the tree that a simple model of it says."""

from typing import Any
from uuid import UUID

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from uuid_utils.compat import uuid7

from core.generation.wishes import CURRENT_LEAF
from core.runtime import Runtime
from core.sessions.actions import Switch
from core.stores.tables import Session
from tests.core.generation.test_tree_machine import ANYWHERE, MODELS, Node, TreeMachine, runtime
from tests.support.provider import ProviderServer

__all__ = ["runtime"]


class LiveMachine(TreeMachine):
    """The tree's, and a question that comes while another is answered."""

    @rule(number=ANYWHERE, named=st.booleans(), edits=st.booleans(), takes_back=st.booleans())
    def queue(self, number: int, named: bool, edits: bool, takes_back: bool) -> None:
        """A question waits for the end of an answer."""
        generations = self.runtime.generations
        live, question = self.take_question(f"Live {number}?", None, named=False, model="good")
        parent = self.pick(number) if named else None
        where: Any = CURRENT_LEAF if parent is None else UUID(parent.id)
        waits = generations.accept(self.session, f"Waits {number}?", parent=where, while_busy="queue")
        assert waits.waits
        text = f"Waits {number}?"
        if edits:
            text = f"Waits on {number}?"
            self.runtime.waiting.edit(self.session, waits.generation_id, text)
        if takes_back:
            self.runtime.waiting.remove(self.session, waits.generation_id)
        self.end(live, question)
        if not takes_back:
            self.end(waits, self._promoted(waits.generation_id, text, parent))
        assert self.runtime.waiting.list(self.session) == []

    @rule(number=ANYWHERE)
    def interrupt(self, number: int) -> None:
        """A question ends an answer that has not begun."""
        live, question = self.take_question(f"Live {number}?", None, named=False, model="good")
        now = self.runtime.generations.accept(self.session, f"Now {number}?", while_busy="interrupt")
        assert not now.waits
        self.end(live, question, write=False)
        self.end(now, self._promoted(now.generation_id, f"Now {number}?", None))

    @rule(number=ANYWHERE, model=st.sampled_from(MODELS))
    def hand_over(self, number: int, model: str) -> None:
        """Another model answers a question that waits for a worker."""
        live, question = self.take_question(f"Live {number}?", None, named=False, model="good")
        switch = Switch(self.session.id, model, self.session.owner_id, None, uuid7(), live=True)
        (switched,) = self.runtime.actions.switch_models([switch])
        assert isinstance(switched, Session)
        self.end(live, question)
        answer = self.stored()[self.tree.nodes[-1].id]
        assert (answer.model, answer.handovers) == (model, None)

    def _promoted(self, generation_id: UUID, text: str, parent: Node | None) -> Node:
        """The question whose turn has come, which the model now knows."""
        (question_id,) = set(self.stored()) - {node.id for node in self.tree.nodes} - {str(generation_id)}
        follows = parent.id if parent else self.tree.leaf()
        node = Node(question_id, follows.id if isinstance(follows, Node) else follows, "user", text)
        self.tree.nodes.append(node)
        return node


def test_what_comes_while_an_answer_is_live_keeps_to_the_tree(runtime: Runtime, provider: ProviderServer) -> None:
    LiveMachine.runtime, LiveMachine.provider = runtime, provider
    run_state_machine_as_test(
        LiveMachine,
        settings=hypothesis_settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
