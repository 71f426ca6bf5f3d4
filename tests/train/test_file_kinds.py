"""Each kind of file gives what the table in docs/training.md says, which is made here.

After a change of the cases `python -m tests.train.test_file_kinds` writes the table.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lovasz.train.data import DataConfig, checked, load_data
from lovasz.train.errors import UserError
from tests.train import image_kinds, mask_kinds
from tests.train.file_kinds import table, write_images, write_masks

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
# Heading of a table, its cases, and what writes a data set of them.
TABLES = {
    "images": (image_kinds.CASES, write_images),
    "masks": (mask_kinds.CASES, write_masks),
}
SINGLE = [
    pytest.param(case, make, write, id=f"{heading}-{case.files}-{number}")
    for heading, (cases, make) in TABLES.items()
    for case in cases
    for number, write in enumerate(case.write)
]


@pytest.mark.parametrize(("case", "make", "write"), SINGLE)
def test_a_kind_of_file_gives_what_the_table_says(tmp_path, case, make, write):
    make(case, write, tmp_path)
    config = DataConfig(data=str(tmp_path), **case.options)
    if isinstance(case.check, str):
        with pytest.raises(UserError, match=case.check) as caught:
            checked(load_data(config))
        assert "\n" not in str(caught.value)
    else:
        case.check(checked(load_data(config)))


def test_the_page_has_the_table():
    assert _with_tables(PAGE.read_text(encoding="utf-8")) == PAGE.read_text(encoding="utf-8")


def _with_tables(page: str) -> str:
    """The page with the tables of the cases between its marks."""
    for heading, (cases, _) in TABLES.items():
        mark = f"<!-- files: {heading} -->\n"
        assert page.count(mark) == 2
        before, _, after = re.split(mark, page)
        page = before + mark + "\n" + table(heading, cases) + "\n" + mark + after
    return page


if __name__ == "__main__":
    PAGE.write_text(_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
