"""What the documents show must work: code runs, links lead somewhere, examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lovasz

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md")
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_code_runs(code):
    logits = torch.randn(2, 19, 8, 8, requires_grad=True)
    target = torch.randint(0, 19, (2, 8, 8))
    target[0, 0] = 255
    names = {"logits": logits, "target": target}
    exec(code, names)
    names["loss"].backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, link


def test_every_public_name_is_in_the_api_page():
    page = (ROOT / "docs" / "api.md").read_text()
    aliases = {"SetFunction"}
    assert all(f"::: lovasz.{name}\n" in page for name in set(lovasz.__all__) - aliases)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_run(example):
    result = subprocess.run(
        [sys.executable, str(example), "1"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "mIoU" in result.stdout
