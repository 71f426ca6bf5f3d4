"""The page about decisions shows what comes out."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "decisions.md"


def test_the_page_is_right():
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0
