"""What the documents show must work: code runs, links lead somewhere, examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lovasz

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES_WITH_CODE = ("index", "which-loss", "recipes", "migration", "soft-labels", "regions")
SNIPPET_PAGES = [
    "README.md",
    *(f"docs/{n}.md" for n in PAGES_WITH_CODE),
]
SNIPPETS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in (ROOT / name for name in SNIPPET_PAGES)
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


# What the pages call the outputs of a network.
SCORES = {
    "logits": (2, 19, 8, 8),
    "scores": (2, 1, 8, 8),
    "label_scores": (2, 5, 8, 8),
    "point_logits": (300, 20),
    "volume_logits": (2, 4, 4, 4, 4),
    "voxel_logits": (1, 20, 4, 4, 4),
}


@pytest.mark.parametrize("code", SNIPPETS)
def test_code_runs(code):
    scores = {name: torch.randn(shape, requires_grad=True) for name, shape in SCORES.items()}
    labels = {
        "target": torch.randint(0, 19, (2, 8, 8)),
        "other_target": torch.randint(0, 19, (2, 8, 8)),
        "teacher_logits": torch.randn(2, 19, 8, 8),
        "mask": torch.randint(0, 2, (2, 8, 8)),
        "label_masks": torch.randint(0, 2, (2, 5, 8, 8)),
        "point_labels": torch.randint(-1, 20, (300,)),
        "volume_labels": torch.randint(0, 4, (2, 4, 4, 4)),
        "voxel_labels": torch.randint(0, 20, (1, 4, 4, 4)),
    }
    labels["target"][0, 0] = 255
    names = {**scores, **labels}
    exec(code, names)
    names["loss"].backward()
    gradients = [x.grad for x in scores.values() if x.grad is not None]
    assert len(gradients) == 1
    assert gradients[0].isfinite().all()
    assert gradients[0].any()


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
    aliases = {"Region", "SetFunction"}
    assert all(f"::: lovasz.{name}\n" in page for name in set(lovasz.__all__) - aliases)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_run(example):
    result = subprocess.run(
        [sys.executable, str(example), "1"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert re.search("mIoU|loss", result.stdout)
