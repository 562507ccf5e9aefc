"""Answers as HTML. Models write Markdown; what they write is not trusted."""

import nh3
from markdown_it import MarkdownIt

_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
_cleaner = nh3.Cleaner(
    tags={
        *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "a", "table", "thead", "tbody", "tr", "th", "td"),
    },
    attributes={"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
)
"""No images: their addresses would tell a stranger's server that, and when, an answer was read."""


def render(text: str) -> str:
    """Markdown as HTML that is safe to put into a page: rendered without raw HTML, then cleaned by a list of
    allowed elements (OWASP ASVS 5, 1.3.1)."""
    return _cleaner.clean(_markdown.render(text))
