"""What a text is found by, and the piece of it that is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sessions.snippet import LENGTH, snippet
from core.text.search_tokens import terms, tokens


def _found(query: str, text: str) -> bool:
    said = [token.text for token in tokens(text)]
    wanted = terms(query)
    return bool(wanted) and all(any(term.finds(each) for each in said) for term in wanted)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("LODZ", "Grüße aus Łódź"),
        ("grüsse", "GRÜẞE"),
        ("cafe", "Ein Café"),
        ("wor", "Hello, world!"),
        ("hello wor", "world, hello"),
        ("气预", "今天天气预报说下雨"),
        ("雨", "今天天气预报说下雨"),
        ("天气", "天气"),
        ("カメラ", "ｶﾒﾗを買う"),
        ("서울", "나는 서울에서 산다"),
        ("สวัสดี", "พูดว่าสวัสดีครับ"),
        ("iPhone手机", "新的iPhone手机"),
        ("naïve", "nai\u0308ve"),
        ("c3po", "C3PO & R2D2"),
        ("🎉", "Done 🎉!"),
        ("party 🎉", "🎉party"),
        ("👍", "👍🏽"),
        ("👍🏽", "👍"),
        ("🚀", "👩\u200d🚀"),
        ("👩\u200d🚀", "👩🏾\u200d🚀"),
        ("🇩🇪", "🇫🇷🇩🇪"),
        ("❤", "❤\ufe0f"),
        ("1\ufe0f\u20e3", "1"),
        ("5 €", "€5"),
        ("→", "a→b"),
        ("שלום", "שָׁלוֹם"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("がっ", "か\u3099っこう"),
        ("ガメラ", "ｶﾞﾒﾗ"),
        ("uber", "Über"),
        ("STRASSE", "Straße"),
        ("ærø", "Aero"),
        ("h", "Hello"),
        ('"hello" world', "“Hello”, world"),
        ("100%", "100 %"),
        ("a_b\\c", "a_b\\c"),
        ("ß", "Spaß, ss"),
        ("İstanbul", "istanbul"),
    ],
)
def test_what_people_look_for_is_found(query: str, text: str) -> None:
    assert _found(query, text)


@pytest.mark.parametrize("query", ["", "  ", "!?\"'*()^:-", "\0", "\ud800", "%_", "NEAR(", "\\", "\ufe0f\u20e3"])
def test_what_has_no_words_finds_nothing(query: str) -> None:
    assert terms(query) == [] or query == "NEAR("


@pytest.mark.parametrize(("query", "text"), [("🎉", "🎊"), ("🇩🇪", "🇩🇰 🇫🇷"), ("हिन्दी", "ह न द"), ("💩", "")])
def test_what_is_something_else_is_not_found(query: str, text: str) -> None:
    assert not _found(query, text)


@given(st.text(max_size=200), st.text(max_size=20))
def test_a_snippet_is_the_text_and_marks_only_hits(text: str, query: str) -> None:
    wanted = terms(query)
    for token in tokens(text):
        assert 0 <= token.start < token.end <= len(text)
    pieces = snippet(text, wanted)
    shown = "".join(piece.text for piece in pieces)
    assert shown.strip("…") in text or "…" in text
    assert len(shown) <= LENGTH + 2
    assert all(piece.text for piece in pieces)
    assert not any(piece.hit for piece in pieces) or wanted


@given(st.text("ab_ 9é", max_size=60), st.text("ab_ 9", min_size=1, max_size=4))
def test_the_first_hit_is_marked_wherever_it_is(text: str, query: str) -> None:
    wanted = terms(query)
    hits = [text[start:end] for token, start, end in tokens(text) if any(term.finds(token) for term in wanted)]
    marked = [piece.text for piece in snippet(text, wanted) if piece.hit]
    assert marked == hits


def test_a_hit_is_marked_where_it_stands() -> None:
    text = f"{'x ' * 100}<b>Ships</b> & more {'y ' * 200}"
    pieces = snippet(text, terms("ship"))
    assert [piece.text for piece in pieces if piece.hit] == ["Ships"]
    assert pieces[0].text == pieces[-1].text == "…"
    assert "<b>" in pieces[1].text
