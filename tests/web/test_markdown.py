from html.parser import HTMLParser

import pytest

from web.markdown import render


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and `code`", "<p><strong>bold</strong> and <code>code</code></p>\n"),
        (
            "| a |\n|---|\n| 1 |",
            "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n</tr>\n</tbody>\n</table>\n",
        ),
        ("one\ntwo", "<p>one<br>\ntwo</p>\n"),
        ("```python\nx<y\n```", '<pre><code class="language-python">x&lt;y\n</code></pre>\n'),
        ("[a](https://x.example)", '<p><a href="https://x.example" rel="noopener noreferrer nofollow">a</a></p>\n'),
    ],
)
def test_markdown_becomes_html(text: str, html: str) -> None:
    assert render(text) == html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://spy.example/pixel.png)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "<a href='javascript:alert(1)'>x</a>",
        "<style>body{display:none}</style>",
        '[x](https://a.example "onmouseover=alert(1)")',
        "<iframe src=https://a.example></iframe>",
        "```\n</code></pre><script>alert(1)</script>\n```",
    ],
)
def test_what_a_model_writes_cant_act_or_call_home(text: str) -> None:
    reader = _Elements()
    reader.feed(render(text))
    for tag, attributes in reader.found:
        assert tag in ("p", "a", "pre", "code")
        assert set(attributes) <= {"href", "title", "rel", "class"}
        assert str(attributes.get("href", "https:")).startswith("https:")


class _Elements(HTMLParser):
    """What a browser would make of it: text is harmless, elements and attributes are not."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
