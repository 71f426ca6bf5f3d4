"""Formulas become MathML when the documentation is built, so that pages load no script for them."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<body>.*?)\\[)\]]</(?P=tag)>', re.S
)


def on_page_content(content: str, **_: object) -> str:
    """Replace what arithmatex marked as a formula."""

    def replace(match: re.Match[str]) -> str:
        display = "block" if match["open"] == "[" else "inline"
        return convert(html.unescape(match["body"]), display=display)

    return FORMULA.sub(replace, content)
