"""The examples differ from their frameworks' own losses by three lines at most, each marked."""

import ast

import pytest

from tests.stacks.examples import EXAMPLES, changes

FILES = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_three_lines_at_most_differ(path):
    changed, plain = changes(path.read_text())
    assert 2 <= len(changed) <= 3
    rest = "\n".join(plain)
    ast.parse(rest)  # with the lines that were there before it is a program
    assert "lovasz" not in rest.lower().replace("losses.lovaszloss(", "")


def test_marks_are_found():
    source = "import a\nimport lovasz  # new\n    # was: x = a()\n    x = lovasz()\ny = 1"
    changed, plain = changes(source)
    assert changed == ["import lovasz  # new", "    x = lovasz()"]
    assert plain == ["import a", "    x = a()", "y = 1"]
