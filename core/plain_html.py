"""Text as HTML that shows it as it stands: for answers whose Markdown is not rendered."""

from html import escape


def plain_html(text: str) -> str:
    """The text as one paragraph, escaped, with its line breaks. The time grows with the length and nothing else."""
    return "<p>" + escape(text, quote=False).replace("\n", "<br>\n") + "</p>\n"
