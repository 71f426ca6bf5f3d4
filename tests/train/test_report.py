"""The report is whole on screens of any width, and says no more than its seeds do."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from lovasz.train.config import CompareConfig
from lovasz.train.data import DataSet
from lovasz.train.progress import add_bar, bars
from lovasz.train.report import write_report
from lovasz.train.runs import Run
from lovasz.train.summary import FINE, TITLES, summarise

WIDER_PAGES = (1200, 800)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Everything that is wider than what holds it.
WIDER = """
<pre id="wider"></pre><script>
document.getElementById("wider").textContent = JSON.stringify(
  [document.documentElement, ...document.querySelectorAll("main *")]
    .filter(x => x.clientWidth && x.scrollWidth > x.clientWidth + 1 && !x.closest("details, pre"))
    .map(x => x.tagName + "." + x.className + " " + x.scrollWidth + " > " + x.clientWidth));
</script>
"""


LEFT_OUT = {
    "hidden files": ["train/images/.<i>.png"],
    "masks without an image": [f"train/masks/{k}.png" for k in range(10_002)],
}


def results(folder, loss, seed, classes, decided):
    """A complete run, as its folder would have it; no network was trained for it."""
    score = 0.3 + 0.1 * list(TITLES).index(loss) + 0.01 * seed
    names = ("miou", "accuracy", *FINE)
    result = {
        **dict.fromkeys(names, score),
        "iou": [score] * (len(classes) - 1) + [None],
        "seconds": 90,
        "images": 1,
        "part": "test",
        "confusion": np.diag([1] * (len(classes) - 1) + [0]).tolist(),
    }
    if decided:  # earlier versions had none
        fitted = score + 0.02 + 0.001 * seed
        result["decided"] = {
            **result,
            "miou": fitted,
            "iou": [fitted] * (len(classes) - 1) + [None],
        }
        result["decision"] = {
            "offsets": [0.5] * len(classes),
            "gain": 0.01,
            "interval": [-0.01, 0.03],
            "within_noise": True,
        }
    log = [{"epoch": epoch, "miou": score, "loss": 1.0} for epoch in (1, 2)]
    return Run(loss, 0.001, seed, folder, result, log)


def write(folder, losses, seeds, *, decided=True):
    """The report of such runs."""
    image, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    np.savez(
        folder / "pictures.npz", image0=image, truth0=labels, prediction0=labels, decided0=labels
    )
    config = CompareConfig(data="squares", losses=losses, seeds=seeds, learning_rates=[0.001])
    classes = ["a class whose name is long", "red", "green", "never seen"]
    part = [None] * 4
    parts = {"train": part, "val": part, "test": part}
    data = DataSet("Squares", classes, parts, notes=["Images: <4> train."], left_out=LEFT_OUT)
    runs = [results(folder, loss, seed, classes, decided) for loss in losses for seed in seeds]
    write_report(folder / "report.html", config, summarise(config, data, runs), complete=True)
    return folder


@pytest.fixture(scope="module")
def of_one_seed(tmp_path_factory):
    """All losses with one seed each: the widest tables."""
    return write(tmp_path_factory.mktemp("one"), list(TITLES), [3])


@pytest.fixture(scope="module")
def of_many_seeds(tmp_path_factory):
    """Two losses with nine seeds."""
    return write(tmp_path_factory.mktemp("many"), ["cross-entropy", "both"], list(range(9)))


@pytest.fixture(scope="module")
def of_one_loss(tmp_path_factory):
    """One loss, whose pictures and offsets are shown too."""
    return write(tmp_path_factory.mktemp("alone"), ["both"], [3])


@pytest.fixture(scope="module")
def of_earlier_runs(tmp_path_factory):
    """As those with many seeds, without fitted decisions."""
    folder = tmp_path_factory.mktemp("earlier")
    return write(folder, ["cross-entropy", "both"], list(range(9)), decided=False)


@pytest.fixture(scope="module")
def folders(of_one_seed, of_many_seeds, of_one_loss, of_earlier_runs):
    """Of all of them."""
    return of_one_seed, of_many_seeds, of_one_loss, of_earlier_runs


class Tables(HTMLParser):
    """Headings, cells and labels of the cells of each table."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.cell = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append(([], []))
        if tag == "th":
            self.cell = []
        if tag == "td":
            self.tables[-1][1].append(dict(attributes).get("data-label"))

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag):
        if tag == "th":
            self.tables[-1][0].append(" ".join(self.cell))
            self.cell = None


def report(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_number_has_the_heading_of_its_column_at_hand(folders):
    for folder in folders:
        tables = Tables(report(folder)).tables
        assert len(tables) >= 3
        for headings, labels in tables:
            rows = [labels[k : k + len(headings)] for k in range(0, len(labels), len(headings))]
            for row in rows:
                assert row[0] is None  # the name of the row stands for itself
                for heading, label in zip(headings[1:], row[1:], strict=True):
                    # the mean below the classes has no share of pixels
                    assert label is None or re.sub(r"\W|mIoU|IoU", "", label) == re.sub(
                        r"\W|mIoU|IoU", "", heading
                    )
            assert all(None not in row[1:] for row in rows[:-1])


def test_what_is_left_out_of_the_data_is_listed(of_one_seed):
    page = report(of_one_seed)
    assert "Images: &lt;4&gt; train." in page
    assert "<p>hidden files: 1</p>\n<pre>train/images/.&lt;i&gt;.png</pre>" in page
    assert "<p>masks without an image: 10002</p>\n<pre>train/masks/0.png\n" in page
    assert "train/masks/9999.png\n\n… and 2 more</pre>" in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium to lay the page out")
@pytest.mark.parametrize(
    "width", [*(pytest.param(w, marks=pytest.mark.slow) for w in WIDER_PAGES), 500]
)
def test_nothing_is_cut_off(folders, tmp_path, width):
    """Chromium has no narrower window than 500 pixels; the page has the same layout below 640."""
    for folder in folders:
        page = tmp_path / "page.html"
        page.write_text(report(folder).replace("</body>", WIDER + "</body>"), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]
        done = subprocess.run(
            [CHROMIUM, *flags, "--dump-dom", page.as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert re.findall(r'<pre id="wider">(.*?)</pre>', done.stdout) == ["[]"]


def test_one_seed_has_no_winner(of_one_seed, of_many_seeds):
    for folder, ranks in ((of_one_seed, False), (of_many_seeds, True)):
        text = report(folder)
        assert ("No winner can be told: the losses have fewer than two seeds" in text) == (
            not ranks
        )
        assert (" has the highest mIoU" in text) == ranks
        assert ('class="best"' in text) == ranks


def test_both_decisions_are_shown_where_there_are_two(folders):
    for folder, count, decided in zip(folders, (5, 2, 1, 2), (1, 1, 1, 0), strict=True):
        text = report(folder)
        assert text.count('data-label="mIoU, %, fitted offsets"') == count * decided
        assert text.count('data-label="mIoU, %, argmax"') == count * decided
        assert text.count('data-label="mIoU, %"') == count * (1 - decided)
        assert ("Results are those of argmax: 18 of 18 runs are from an" in text) == (not decided)
        assert ("So Cross-entropy + Lovász-Softmax is ahead under both" in text) == (
            folder == folders[1]
        )
        assert text.count('alt="prediction, Fitted offsets"') == (count == 1)
        assert text.count('data-label="Offset"') == 4 * (count == 1)
        drawn = "".join(
            base64.b64decode(uri).decode()
            for uri in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", text)
        )
        assert ("<!-- with fitted offsets -->" in drawn) == bool(decided)


def test_a_bar_has_no_number_of_steps_before_the_run_says_it():
    def shown(progress):
        console = Console(file=io.StringIO(), width=100)
        console.print(progress.get_renderable())
        return console.file.getvalue()

    progress = bars(Console(file=io.StringIO(), width=100))
    bar = add_bar(progress, "both")
    assert "both" in shown(progress)
    assert "/" not in shown(progress)
    progress.update(bar, completed=3, total=370, text="loss 0.500")
    assert "3/370" in shown(progress)


def test_every_loss_of_many_is_in_the_report(of_one_seed):
    text = report(of_one_seed)
    rows = re.findall(
        r'<tr><td><span class="swatch" style="background:(.*?)"></span>(.*?)</td>', text
    )
    assert [title for _, title in rows[: len(TITLES)]] == list(TITLES.values())
    assert len({colour for colour, _ in rows[: len(TITLES)]}) == len(TITLES) > 3
    for uri in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", text):
        drawn = base64.b64decode(uri).decode()
        assert all(colour in drawn for colour, _ in rows[: len(TITLES)])
