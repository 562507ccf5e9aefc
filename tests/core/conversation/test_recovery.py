"""The join of history and live events: a table, and a model that loses, repeats and delays announcements."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.conversation.event_log import Event, Page
from core.conversation.position import Position
from core.conversation.recovery import NOWHERE, Step, begin, broken, step

AT = Position("e", 5)


def _page(epoch: str, top: int, *offsets: int, start: int | None = None) -> Page:
    return Page(epoch, top, start, [Event(offset, "delta", "{}") for offset in offsets])


@pytest.mark.parametrize(
    ("cursor", "tip", "expected"),
    [
        (None, _page("e", 9), Position("e", 9)),
        (None, _page("e", 9, start=4), Position("e", 4)),
        (None, _page("e", 9, start=0), Position("e", 0)),
        (None, _page("", 0), NOWHERE),
        (Position("e", 0), _page("e", 9), Position("e", 0)),
        (Position("e", 9), _page("e", 9, start=4), Position("e", 9)),
        (Position("e", 10), _page("e", 9), None),
        (Position("f", 3), _page("e", 9), None),
        (Position("e", 3), _page("", 0), None),
    ],
)
def test_where_a_reader_begins(cursor: Position | None, tip: Page, expected: Position | None) -> None:
    assert begin(cursor, tip) == expected


@pytest.mark.parametrize(
    ("at", "page", "expected"),
    [
        (AT, _page("e", 5), None),
        (AT, _page("e", 7, 6, 7), None),
        (AT, _page("e", 900, 6, 7), None),
        (AT, _page("e", 9, 7, 8, 9), "log-trimmed"),
        (AT, _page("e", 9), "log-trimmed"),
        (AT, _page("f", 9, 6, 7), "log-lost"),
        (AT, _page("f", 2), "log-lost"),
        (AT, _page("", 0), "log-lost"),
        (NOWHERE, _page("", 0), None),
        (NOWHERE, _page("e", 2, 1, 2), None),
        (NOWHERE, _page("e", 2, 2), "log-trimmed"),
    ],
)
def test_which_pages_follow(at: Position, page: Page, expected: str | None) -> None:
    assert broken(at, page) == expected


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        (Position("e", 6), Step.TELL),
        (Position("e", 5), Step.DROP),
        (Position("e", 1), Step.DROP),
        (Position("e", 7), Step.READ),
        (Position("f", 6), Step.READ),
    ],
)
def test_what_an_announcement_means(announced: Position, expected: Step) -> None:
    assert step(AT, announced) == expected


actions = st.lists(
    st.one_of(
        st.just(("append", 0)),
        st.tuples(st.sampled_from(["announce", "drop", "repeat"]), st.integers(0, 4)),
        st.tuples(st.just("page"), st.integers(1, 3)),
        st.tuples(st.just("trim"), st.integers(0, 3)),
        st.just(("lose", 0)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(actions=actions)
def test_whatever_happens_nothing_is_lost_doubled_or_reordered_without_a_reset(
    actions: list[tuple[str, int]],
) -> None:
    world = _World()
    for action, number in actions:
        getattr(world, action)(number)
    world.read()
    # Since the last reset (or the beginning) the reader has told every event, each once, in order.
    assert world.told == [Position(world.epoch, offset) for offset in range(world.told_from + 1, world.top + 1)]


class _World:
    """A log, a channel between it and a reader that may do anything but invent, and the reader."""

    def __init__(self) -> None:
        self.generation = 0
        self.epoch = "e0"
        self.top = 0
        self.first = 1
        self.channel: list[Position] = []
        self.at = Position("e0", 0)
        self.told: list[Position] = []
        self.told_from = 0

    def append(self, _: int) -> None:
        self.top += 1
        self.channel.append(Position(self.epoch, self.top))

    def announce(self, index: int) -> None:
        if index < len(self.channel):
            self._hear(self.channel.pop(index))

    def repeat(self, index: int) -> None:
        if index < len(self.channel):
            self._hear(self.channel[index])

    def drop(self, index: int) -> None:
        if index < len(self.channel):
            self.channel.pop(index)

    def trim(self, keep: int) -> None:
        self.first = max(self.first, self.top - keep + 1)

    def lose(self, _: int) -> None:
        self.generation += 1
        self.epoch, self.top, self.first = f"e{self.generation}", 0, 1

    def page(self, limit: int) -> None:
        self._take(limit)

    def read(self) -> None:
        while self._take(limit=3):
            pass

    def _hear(self, position: Position) -> None:
        match step(self.at, position):
            case Step.TELL:
                self._tell(position)
            case Step.READ:
                self.read()

    def _take(self, limit: int) -> bool:
        offsets = range(max(self.first, self.at.offset + 1), self.top + 1)[:limit]
        page = Page(self.epoch, self.top, None, [Event(offset, "delta", "{}") for offset in offsets])
        if broken(self.at, page) is not None:
            self.at, self.told, self.told_from = Position(page.epoch, page.top), [], page.top
            return True
        for event in page.events:
            self._tell(Position(page.epoch, event.offset))
        return len(page.events) == limit

    def _tell(self, position: Position) -> None:
        self.at = position
        self.told.append(position)
