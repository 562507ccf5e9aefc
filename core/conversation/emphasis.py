"""Emphasis in Chinese, Japanese and Korean: the CJK-friendly amendments to CommonMark, version 0.31.2.

CommonMark takes the space around words for the sign of where emphasis begins and ends. These scripts have none, so
that `**「重点」**内容` keeps its asterisks there. https://github.com/tats-u/markdown-cjk-friendly has the rule.
"""

import re
import unicodedata
from collections.abc import MutableMapping
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token

FIRST = "\u1100"
"""No character before it is CJK."""
WIDE = ("W", "F", "H")
"""Classes of East Asian Width (Unicode's annex 11) that CJK characters have; emoji have the first as well."""
_EMOJI = re.compile(
    "[\u231a-\u2328\u23e9-\u23f3\u25fd\u25fe\u2614-\u262f\u2638-\u2689\u2690-\u2b55\U0001f004\U0001f0cf"
    "\U0001f18e-\U0001f19a\U0001f201\U0001f21a\U0001f22f\U0001f232-\U0001f236\U0001f238-\U0001f23a\U0001f250\U0001f251"
    "\U0001f300-\U0001f64f\U0001f680-\U0001faff]"
)
"""Of the wide characters those that are pictures (Emoji_Presentation)."""
_HANGUL = re.compile("[\u1160-\u11ff\ud7b0-\ud7fb]")
"""Parts of its syllables, which have no width of their own."""
_SELECTOR = re.compile("[\ufe00-\ufe0e]")
"""Chooses a form of the character before it."""
_IDEOGRAPHIC_SELECTOR = re.compile("[\U000e0100-\U000e01ef]")
_FULL_WIDTH_QUOTE = re.compile("[\u2018\u2019\u201c\u201d]\ufe01")


class CjkFriendlyInline(ParserInline):
    """What is in a block, by the rules of another parser."""

    def __init__(self, rules: ParserInline) -> None:
        super().__init__()
        self.ruler, self.ruler2 = rules.ruler, rules.ruler2

    def parse(self, src: str, md: MarkdownIt, env: MutableMapping[str, Any], tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


class _State(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: N802, N803  the library's names
        """Whether a run of `*` or `~` begins or ends emphasis: beside a CJK character it may do both. `_` can't split
        words, and follows CommonMark."""
        scanned = super().scanDelims(start, canSplitWord)
        if not canSplitWord or (scanned.can_open and scanned.can_close):
            return scanned
        end = start + scanned.length
        before, after = self.src[max(0, start - 2) : start], self.src[end : min(end + 1, self.posMax)]
        if not (before and after) or isWhiteSpace(ord(before[-1])) or isWhiteSpace(ord(after)):
            return scanned
        if is_cjk(after) or _ends_with_cjk(before):
            return Scanned(True, True, scanned.length)
        return scanned


def is_cjk(character: str) -> bool:
    """Whether it is a character of Chinese, Japanese or Korean, their punctuation included, and no emoji."""
    if character < FIRST:
        return False
    wide = unicodedata.east_asian_width(character) in WIDE
    return not _EMOJI.match(character) if wide else _HANGUL.match(character) is not None


def _ends_with_cjk(text: str) -> bool:
    """Of two characters, the last of which may choose a form of the other."""
    if _SELECTOR.match(text[-1]):
        return is_cjk(text[0]) or _FULL_WIDTH_QUOTE.match(text) is not None
    return is_cjk(text[-1]) or _IDEOGRAPHIC_SELECTOR.match(text[-1]) is not None
