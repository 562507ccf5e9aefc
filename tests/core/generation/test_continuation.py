from hypothesis import given
from hypothesis import strategies as st

from core.generation.continuation import MIN_OVERLAP, Overlap

texts = st.text(alphabet="ab \n", max_size=40)


def _through(before: str, pieces: list[str]) -> str:
    overlap = Overlap(before)
    return "".join(overlap.feed(piece) for piece in pieces) + overlap.flush()


def test_a_repetition_is_dropped_however_it_is_cut() -> None:
    before = "The sky is blue because of"
    for size in (1, 2, 5, 100):
        text = "blue because of Rayleigh scattering."
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert _through(before, pieces) == " Rayleigh scattering."


def test_a_continuation_without_repetition_is_untouched() -> None:
    assert _through("The sky is blue because of", [" Ray", "leigh"]) == " Rayleigh"


def test_a_few_equal_characters_are_chance() -> None:
    assert _through("one, two, ", [", three"]) == ", three"


def test_a_new_answer_is_not_held_back() -> None:
    overlap = Overlap("")
    assert overlap.feed("T") == "T"


@given(before=texts, pieces=st.lists(st.text(alphabet="ab \n", min_size=1, max_size=5), max_size=10))
def test_only_a_repetition_is_ever_dropped(before: str, pieces: list[str]) -> None:
    text = "".join(pieces)
    passed = _through(before, pieces)
    assert text.endswith(passed)
    dropped = text[: len(text) - len(passed)]
    assert before.endswith(dropped)
    assert dropped == "" or len(dropped) >= MIN_OVERLAP


@given(
    before=st.text(alphabet="abcdefgh", min_size=MIN_OVERLAP, max_size=60), rest=st.text(alphabet="XYZ", max_size=30)
)
def test_every_repetition_is_dropped(before: str, rest: str) -> None:
    for length in range(MIN_OVERLAP, len(before) + 1):
        repeated = before[-length:] + rest
        assert _through(before, list(repeated)) == rest
