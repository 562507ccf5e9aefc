"""A piece of a text around what a search has found in it: pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.text.search_tokens import Term, Token, tokens

BEFORE, LENGTH = 40, 160
"""Characters before the first hit, and altogether."""


class Piece(NamedTuple):
    """A piece of a snippet, as plain text."""

    text: str
    hit: bool


def snippet(text: str, terms: Sequence[Term]) -> list[Piece]:
    """The text around the first hit, in pieces: what is marked as a hit is one. Without a hit, its beginning."""
    hits = _hits(text, terms)
    start = max(0, hits[0][0] - BEFORE) if hits else 0
    end = min(len(text), start + LENGTH)
    pieces = [Piece("…", hit=False)] if start else []
    at = start
    for first, last in hits:
        if first >= end:
            break
        pieces += [Piece(text[at:first], hit=False), Piece(text[first : min(last, end)], hit=True)]
        at = min(last, end)
    pieces += [Piece(text[at:end], hit=False), Piece("…" if end < len(text) else "", hit=False)]
    return [piece for piece in pieces if piece.text]


def _hits(text: str, terms: Sequence[Term]) -> list[tuple[int, int]]:
    """The places of the hits in a snippet's length, those that touch as one."""
    hits: list[tuple[int, int]] = []
    for token, start, end in _tokens_from_first_hit(text, terms):
        if hits and start > hits[0][0] + LENGTH:
            break
        term = next((term for term in terms if term.finds(token)), None)
        if term is None:
            continue
        if hits and start <= hits[-1][1]:
            hits[-1] = hits[-1][0], max(end, hits[-1][1])
        else:
            hits.append((start, end))
    return hits


def _tokens_from_first_hit(text: str, terms: Sequence[Term]) -> Iterator[Token]:
    """The text's tokens, of plain ones without most of those before the first hit: an answer may be long, and a page
    has many."""
    if not text.isascii():
        return tokens(text)
    plain = text.lower()
    places = [at for term in terms if (at := plain.find(term.text)) >= 0]
    begin = min(places, default=len(text))
    while begin and plain[begin - 1].isalnum():
        begin -= 1
    return (Token(token, begin + start, begin + end) for token, start, end in tokens(text[begin:]))
