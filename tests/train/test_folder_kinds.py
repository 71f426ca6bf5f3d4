"""Each form of a folder is found and each odd thing in it told, as docs/training.md says.

After a change of the cases `python -m tests.train.test_folder_kinds` writes the tables of the page.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lovasz.train.errors import UserError
from tests.train.folder_kinds import FORMS, ODD, find, form_rows, names, odd_rows, pairs, tree

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.mark.parametrize("form", FORMS, ids=[form.masks for form in FORMS])
@pytest.mark.parametrize("validation", ["val", "Valid"])
def test_a_form_of_the_table_is_found(tmp_path, form, validation):
    divided = "{p}" in form.images
    count = 2 if divided else 6
    files = pairs(form.images, form.masks, f"train {validation} test" if divided else "all", count)
    found = find(tree(tmp_path, *files), **form.options)
    assert not found.left_out
    if divided:
        assert names(found) == {
            part: [" ".join(pairs(form.images, form.masks, name, 2)[k : k + 2]) for k in (0, 2)]
            for part, name in {"train": "train", "val": validation, "test": "test"}.items()
        }
    else:
        by_chance = sorted(pair for part in names(found).values() for pair in part)
        assert by_chance == [" ".join(files[k : k + 2]) for k in range(0, 12, 2)]


@pytest.mark.parametrize("case", ODD, ids=[case.what for case in ODD])
def test_what_becomes_of_what_else_is_there(tmp_path, case):
    tree(tmp_path, *pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "train val"))
    case.add(tmp_path / "train")
    if isinstance(case.left_out, str):
        with pytest.raises(UserError, match=case.left_out):
            find(tmp_path, **case.options)
        return
    found = find(tmp_path, **case.options)
    left_out = {os.path.relpath(path, tmp_path / "train"): why for path, why in found.left_out}
    assert left_out == case.left_out
    assert len(found.parts["train"]) == case.used
    assert all(why in found.notes[0] for why in case.left_out.values())


def test_the_page_has_the_tables():
    page = PAGE.read_text(encoding="utf-8")
    assert _with_tables(page) == page


def _with_tables(page: str) -> str:
    """The page with the tables between their marks."""
    for name, rows in (("forms", form_rows()), ("odd", odd_rows())):
        mark = f"<!-- folders: {name} -->\n"
        before, _, after = page.split(mark)
        lines = [" | ".join(("", *row, "")).strip() for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        page = f"{before}{mark}\n{chr(10).join(lines)}\n\n{mark}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
