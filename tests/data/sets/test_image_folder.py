from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data_files import DIGITS, load, prepare, write_class_folders

from genifer.data.sets.image_folder import ImageFolder
from genifer.errors import GeniferError


@pytest.mark.parametrize("packed", ["", ".tar.gz", ".zip"])
@pytest.mark.parametrize("size", [8, 16, 32])
def test_folder_and_archive(tmp_path: Path, packed: str, size: int) -> None:
    names = ["ant", "bee", "cat", "dog"]
    write_class_folders(tmp_path / "photos", names)
    archive = tmp_path / "photos"
    if packed == ".tar.gz":
        archive = tmp_path / "photos.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "photos", "photos")
    elif packed:
        archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path, "photos"))
    data = {"dataset": "image_folder", "archive": archive, "image_size": size}
    prepare(tmp_path / "out", data, {"tasks": [1, 2, 1], "class_order": ["dog", "ant", 2, "bee"]})
    second = load(tmp_path / "out", 1)
    assert second.class_names == ("dog", "ant", "cat", "bee")
    assert second.images.shape == (6, 3, size, size)
    assert second.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert second.images[0, :, 3, 3].tolist() == [10, 200, 0]
    assert second.images[4, :, 3, 3].tolist() == [50, 200, 10]


def test_imagenets_layout(tmp_path: Path) -> None:
    """The test images are those of val/; test/ holds images without classes, or is missing."""
    write_class_folders(tmp_path / "photos", ["n01440764", "n01443537"])
    (tmp_path / "photos" / "test").rename(tmp_path / "photos" / "val")
    data = {"dataset": "image_folder", "archive": tmp_path / "photos"}
    scenario = {"tasks": [1, 1], "class_order": "sorted"}
    prepare(tmp_path / "a", data, scenario)
    assert load(tmp_path / "a", 1, "test").labels.tolist() == [1, 1, 1]
    (tmp_path / "photos" / "test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "test" / "ILSVRC2012_test_00000001.JPEG")
    prepare(tmp_path / "b", data, scenario)
    assert load(tmp_path / "b", 0, "test").images.equal(load(tmp_path / "a", 0, "test").images)
    assert ImageFolder.class_names_in(tmp_path / "photos") == ["n01440764", "n01443537"]


def test_many_image_formats(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_class_folders(tmp_path / "photos", ["ant"])
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
    assert "skipped files without an image extension: 1" in caplog.text


def test_grey(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "photos", ["a", "b"])
    data = DIGITS | {"dataset": "image_folder", "archive": tmp_path / "photos"}
    prepare(tmp_path / "out", data, {"tasks": [1, 1], "class_order": "sorted"})
    assert load(tmp_path / "out", 0).images.shape == (3, 1, 8, 8)


def write_flat(folder: Path) -> None:
    """Write an image outside class folders, like ImageNet's validation images."""
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "ILSVRC2012_val_00000001.JPEG")


def test_class_names_before_a_run(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "photos", ["b", "a"])
    (tmp_path / "photos.tar.gz").touch()
    assert ImageFolder.class_names_in(tmp_path / "photos") == ["a", "b"]
    assert ImageFolder.class_names_in(tmp_path) == ["a", "b"]
    assert ImageFolder.class_names_in(tmp_path / "photos.tar.gz") is None
    with pytest.raises(GeniferError, match="has no folder 'train'"):
        ImageFolder.class_names_in(tmp_path / "photos" / "train")
    shutil.rmtree(tmp_path / "photos" / "test")
    write_flat(tmp_path / "photos" / "val")
    with pytest.raises(GeniferError, match="val/ has no class folders"):
        ImageFolder.class_names_in(tmp_path / "photos")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no_test", ["has no folder 'test' or 'val'", "val/<class>/*"]),
        ("odd_class", ["same classes", "zebra. Add them"]),
        ("flat_val", ["val/ has no class folders", "one folder per class", "val/<class>/*"]),
        ("flat_train", ["train/ has no class folders", "one folder per class", "train/<class>/*"]),
        ("flat", ["train/ has no class folders"]),
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
    write_class_folders(photos, ["ant", "bee"])
    archive, tasks = photos, [1, 1]
    order: str | list[str] = "sorted"
    match damage:
        case "no_test":
            (photos / "test").rename(photos / "tests")
        case "odd_class":
            (photos / "train" / "zebra").mkdir()
        case "flat_val":
            shutil.rmtree(photos / "test")
            write_flat(photos / "val")
        case "flat_train":
            shutil.rmtree(photos / "train")
            write_flat(photos / "train")
        case "flat":
            shutil.rmtree(photos)
            write_flat(photos / "train")
            write_flat(photos / "test")
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
    data = {"dataset": "image_folder", "archive": archive}
    with pytest.raises(GeniferError) as refusal:
        prepare(tmp_path / "out", data, {"tasks": tasks, "class_order": order})
    assert [word for word in words if word not in str(refusal.value)] == [], str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_bad_images_up_to_the_limit_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = tmp_path / "photos"
    write_class_folders(photos, ["ant", "bee"])
    (photos / "train" / "bee" / "1.png").write_bytes(b"not an image")
    prepare(
        tmp_path / "out",
        {"dataset": "image_folder", "archive": photos, "max_bad_images": 1},
        {"tasks": [1, 1], "class_order": "sorted"},
    )
    assert "train/bee/1.png" in caplog.text
    assert len(load(tmp_path / "out", 1).labels) == 2
