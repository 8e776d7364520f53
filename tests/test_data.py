"""Data sets through `genifer prepare-data`: what lands in each task's file, and what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genifer.config import DataSettings, ScenarioSettings
from genifer.data.batches import Normalization, ShuffledBatches, load_task_data, random_crop_and_flip
from genifer.data.prepare import prepare_data
from genifer.errors import GeniferError

CPU = torch.device("cpu")
DIGITS = {"dataset": "digits", "image_size": 8, "channels": 1, "mean": None, "std": None}


def prepare(folder: Path, data: dict[str, object], scenario: dict[str, object]) -> None:
    prepare_data(DataSettings.model_validate(data), ScenarioSettings.model_validate(scenario), None, folder)


def load(folder: Path, task: int, split: str = "train"):
    return load_task_data([folder / f"task_{task}_{split}.safetensors"], CPU)


def write_tree(root: Path, classes: list[str], per_class: int = 3, side: int = 11) -> None:
    """Class folders whose images have the colour of their class."""
    for split in ("train", "test"):
        for index, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                color = (20 * index + 10, 200, 10 * number)
                Image.new("RGB", (side + number, side), color).save(folder / f"{number}.png")


def write_cifar100(path: Path, n_train: int = 200, n_test: int = 100, classes: int = 100) -> str:
    """A small archive in CIFAR-100's own format; returns its MD5."""
    rng = np.random.RandomState(0)
    source = path.parent / "cifar-100-python"
    source.mkdir()
    for split, n in (("train", n_train), ("test", n_test)):
        labels = [i % classes for i in range(n)]
        data = rng.randint(0, 256, (n, 3072), dtype=np.uint8)
        with (source / split).open("wb") as file:
            pickle.dump({"data": data, "fine_labels": labels, "coarse_labels": labels}, file)
    with (source / "meta").open("wb") as file:
        pickle.dump(
            {"fine_label_names": [f"class{i}" for i in range(classes)], "coarse_label_names": []}, file
        )
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source, "cifar-100-python")
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_digits(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS, {"tasks": [4, 3, 3], "class_order": 7})
    order = [int(c) for c in np.random.RandomState(7).permutation(10)]
    total = 0
    for task, labels in enumerate(([0, 1, 2, 3], [4, 5, 6], [7, 8, 9])):
        train, test = load(tmp_path, task), load(tmp_path, task, "test")
        assert train.images.dtype == torch.uint8
        assert train.images.shape[1:] == (1, 8, 8)
        assert train.labels.unique().tolist() == test.labels.unique().tolist() == labels
        assert [train.class_names[label] for label in labels] == [str(order[label]) for label in labels]
        assert (train.n_old, train.n_new, train.n_classes) == (labels[0], len(labels), 10)
        total += len(train.labels) + len(test.labels)
    assert total == 1797


def test_the_papers_class_order() -> None:
    from genifer.scenario import build_scenario

    scenario = build_scenario(ScenarioSettings(), [str(i) for i in range(100)])
    assert scenario.order[:4] == (68, 56, 78, 8)
    assert list(scenario.labels(1)) == list(range(50, 60))


def test_normalisation_comes_from_the_first_task(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS, {"tasks": [5, 5], "class_order": "sorted"})
    first = load(tmp_path, 0)
    values = first.images.double() / 255
    assert first.mean[0] == pytest.approx(values.mean().item(), abs=1e-4)
    assert first.std[0] == pytest.approx(values.std(correction=0).item(), abs=1e-4)
    assert load(tmp_path, 1).mean == first.mean


def test_validation_images_are_kept_apart(tmp_path: Path) -> None:
    prepare(tmp_path / "all", DIGITS, {"tasks": [10], "class_order": "sorted"})
    prepare(
        tmp_path / "split", DIGITS | {"validation_fraction": 0.2}, {"tasks": [10], "class_order": "sorted"}
    )
    everything = load(tmp_path / "all", 0)
    train, validation = load(tmp_path / "split", 0), load(tmp_path / "split", 0, "validation")
    assert len(train.labels) + len(validation.labels) == len(everything.labels)
    for label in range(10):
        n = int((everything.labels == label).sum())
        assert int((validation.labels == label).sum()) == n // 5
    rows = {bytes(image.numpy().tobytes()) for image in train.images}
    assert not rows & {bytes(image.numpy().tobytes()) for image in validation.images}
    assert torch.equal(load(tmp_path / "split", 0, "test").images, load(tmp_path / "all", 0, "test").images)


def test_a_class_too_small_to_split_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "photos", ["ant", "bee"])
    data = {"dataset": "image_folder", "archive": tmp_path / "photos", "validation_fraction": 0.1}
    with pytest.raises(GeniferError, match=r"class 'ant' has no image in the validation split"):
        prepare(tmp_path / "out", data, {"tasks": [1, 1], "class_order": "sorted"})
    assert not (tmp_path / "out").exists()


def test_fewer_images_a_class(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS | {"train_images_per_class": 5}, {"tasks": [10]})
    assert load(tmp_path, 0).labels.bincount().tolist() == [5] * 10
    assert len(load(tmp_path, 0, "test").labels) > 200


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [8, 16, 32])
def test_image_folder(tmp_path: Path, packed: bool, size: int) -> None:
    names = ["ant", "bee", "cat", "dog"]
    write_tree(tmp_path / "photos", names)
    archive = tmp_path / "photos"
    if packed:
        archive = tmp_path / "photos.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "photos", "photos")
    data = {"dataset": "image_folder", "archive": archive, "image_size": size}
    prepare(tmp_path / "out", data, {"tasks": [1, 2, 1], "class_order": ["dog", "ant", 2, "bee"]})
    second = load(tmp_path / "out", 1)
    assert second.class_names == ("dog", "ant", "cat", "bee")
    assert second.images.shape == (6, 3, size, size)
    assert second.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert second.images[0, :, 3, 3].tolist() == [10, 200, 0]
    assert second.images[4, :, 3, 3].tolist() == [50, 200, 10]


def test_images_of_many_kinds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(tmp_path / "photos", ["ant"])
    folder = tmp_path / "photos" / "train" / "ant"
    for old in folder.iterdir():
        old.unlink()
    grey = np.full((9, 20), 200, dtype=np.uint8)
    Image.fromarray(grey).save(folder / "a.JPG", format="JPEG")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "b.png")
    Image.fromarray(np.full((9, 20, 4), 200, dtype=np.uint8)).save(folder / "c.png")
    Image.fromarray(grey).convert("P").save(folder / "d.gif")
    (folder / "notes.txt").write_text("no image")
    (folder / "._a.JPG").write_bytes(b"of another system")
    prepare(tmp_path / "out", {"dataset": "image_folder", "archive": tmp_path / "photos"}, {"tasks": [1]})
    images = load(tmp_path / "out", 0).images
    assert images.shape == (4, 3, 32, 32)
    assert (images.int() - 200).abs().max() <= 2
    assert "1 files are no images" in caplog.text


def test_image_folder_in_grey(tmp_path: Path) -> None:
    write_tree(tmp_path / "photos", ["a", "b"])
    data = DIGITS | {"dataset": "image_folder", "archive": tmp_path / "photos"}
    prepare(tmp_path / "out", data, {"tasks": [1, 1], "class_order": "sorted"})
    assert load(tmp_path / "out", 0).images.shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no_test", ["has no folder 'test'"]),
        ("odd_class", ["same classes", "zebra"]),
        ("empty_class", ["train/bee", "holds no image"]),
        ("broken_image", ["train/bee/1.png", "do not decode: 1", "data.max_bad_images: 0"]),
        ("truncated_image", ["test/ant/big.png", "do not decode: 1"]),
        ("tasks", ["scenario.tasks", "data set has 2"]),
        ("missing", ["data.archive", "does not exist"]),
        ("no_archive", ["data.archive", "not a readable tar"]),
        ("unknown_name", ["no class is called 'cow'", "ant, bee"]),
    ],
)
def test_class_folders_that_are_refused(tmp_path: Path, damage: str, words: list[str]) -> None:
    photos = tmp_path / "photos"
    write_tree(photos, ["ant", "bee"])
    archive, tasks, order = photos, [1, 1], "sorted"
    match damage:
        case "no_test":
            (photos / "test").rename(photos / "tests")
        case "odd_class":
            (photos / "train" / "zebra").mkdir()
        case "empty_class":
            for image in (photos / "train" / "bee").iterdir():
                image.unlink()
        case "broken_image":
            (photos / "train" / "bee" / "1.png").write_bytes(b"not an image")
        case "truncated_image":
            pixels = np.random.RandomState(0).randint(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(photos / "test" / "ant" / "big.png")
            content = (photos / "test" / "ant" / "big.png").read_bytes()
            (photos / "test" / "ant" / "big.png").write_bytes(content[: len(content) // 2])
        case "tasks":
            tasks = [1, 1, 1]
        case "missing":
            archive = tmp_path / "nowhere"
        case "no_archive":
            archive = tmp_path / "photos.tar.gz"
            archive.write_bytes(b"\x1f\x8b not a tar")
        case "unknown_name":
            order = ["ant", "cow"]
    with pytest.raises(GeniferError) as refusal:
        prepare(
            tmp_path / "out",
            {"dataset": "image_folder", "archive": archive},
            {"tasks": tasks, "class_order": order},
        )
    assert [word for word in words if word not in str(refusal.value)] == [], str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_bad_images_up_to_a_limit_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "photos"
    write_tree(photos, ["ant", "bee"])
    (photos / "train" / "bee" / "1.png").write_bytes(b"not an image")
    prepare(
        tmp_path / "out",
        {"dataset": "image_folder", "archive": photos, "max_bad_images": 1},
        {"tasks": [1, 1], "class_order": "sorted"},
    )
    assert "train/bee/1.png" in caplog.text
    assert len(load(tmp_path / "out", 1).labels) == 2


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    ("evil", "word"),
    [
        ([entry("../../evil.txt", size=4)], "outside"),
        ([entry("/tmp/genifer-evil.txt", size=4)], "outside"),
        ([entry("a", tarfile.SYMTYPE, "/tmp"), entry("a/genifer-evil.txt", size=4)], "is a link"),
        ([entry("a", tarfile.LNKTYPE, "../evil.txt")], "is a link"),
        ([entry("a", tarfile.CHRTYPE)], "is a link or a device"),
        ([entry("a", tarfile.FIFOTYPE)], "is a link or a device"),
        ([entry(f"train/ant/{index}.png", size=4) for index in range(300)], "max_unpacked_gb: 0.001"),
        ([entry("train/ant/1.png", size=2_000_000)], "max_unpacked_gb: 0.001"),
    ],
    ids=["above", "absolute", "symlink", "hardlink", "device", "fifo", "many files", "large file"],
)
def test_archives_that_would_do_harm_are_refused(
    tmp_path: Path, evil: list[tarfile.TarInfo], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "unpacked"))
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        for info in evil:
            tar.addfile(info, io.BytesIO(bytes(info.size)) if info.size else None)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(GeniferError, match=word):
        prepare(
            tmp_path / "out",
            {"dataset": "image_folder", "archive": tmp_path / "evil.tar.gz", "max_unpacked_gb": 0.001},
            {"tasks": [1]},
        )
    assert set(tmp_path.rglob("*")) == before
    assert not Path("/tmp/genifer-evil.txt").exists()


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'evil'}",)

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps({"data": Evil()}))
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    with pytest.raises(GeniferError, match=r"would have to run (posix|nt)\.system"):
        prepare(tmp_path / "out", {"archive": tmp_path / "evil.tar.gz", "archive_md5": None}, {})
    assert not (tmp_path / "evil").exists()


def test_cifar100(tmp_path: Path) -> None:
    archive = tmp_path / "small.tar.gz"
    md5 = write_cifar100(archive)
    prepare(tmp_path / "out", {"archive": archive, "archive_md5": md5}, {})
    last = load(tmp_path / "out", 5)
    assert last.images.shape == (20, 3, 32, 32)
    assert last.labels.unique().tolist() == list(range(90, 100))
    assert last.class_names[0] == "class68"
    with (tmp_path / "cifar-100-python" / "train").open("rb") as file:
        pixels = pickle.load(file)["data"][68].reshape(3, 32, 32)
    assert np.array_equal(load(tmp_path / "out", 0).images[0].numpy(), pixels)


@pytest.mark.parametrize("damage", ["other_md5", "truncated", "missing"])
def test_cifar100_archives_that_are_refused(tmp_path: Path, damage: str) -> None:
    archive = tmp_path / "small.tar.gz"
    md5 = write_cifar100(archive)
    settings: dict[str, object] = {"archive": archive, "archive_md5": md5}
    if damage == "other_md5":
        settings["archive_md5"] = DataSettings().archive_md5
    elif damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:-1000])
        settings["archive_md5"] = None
    else:
        archive.unlink()
    with pytest.raises(GeniferError, match=r"data\.archive.*small\.tar\.gz"):
        prepare(tmp_path / "out", settings, {})
    assert not (tmp_path / "out").exists()


def test_batches_are_whole_permutations(tmp_path: Path) -> None:
    prepare(tmp_path, DIGITS | {"train_images_per_class": 3}, {"tasks": [10]})
    data = load(tmp_path, 0)
    batches = ShuffledBatches(data, 6, torch.Generator().manual_seed(0))
    for _ in range(2):
        labels = torch.cat([next(batches)[1] for _ in range(5)])
        assert labels.bincount().tolist() == [3] * 10


def test_crop_and_flip() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(64, 2, 6, 6) + 1
    assert torch.equal(random_crop_and_flip(images, 0, False, rng), images)
    cropped = random_crop_and_flip(images, 2, True, rng)
    for before, after in zip(images, cropped, strict=True):
        candidates = []
        for image in (before, before.flip(2)):
            padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="replicate")
            candidates += [padded[:, y : y + 6, x : x + 6] for y in range(5) for x in range(5)]
        assert any(torch.equal(after, candidate) for candidate in candidates)


def test_normalisation_and_back() -> None:
    normalize = Normalization([0.5, 0.4, 0.3], [0.2, 0.3, 0.1])
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(normalize.to_pixels(normalize(pixels)), pixels)
    wild = 10 * torch.randn(4, 3, 5, 5)
    assert normalize(normalize.to_pixels(wild)).sub(normalize.clamp(wild)).abs().max() < 0.03
