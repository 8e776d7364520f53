from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from support.data_files import DIGITS, prepare
from support.device import DEVICE, ON_GPU

from genifer.data import batches, prepared_images
from genifer.data.batches import ShuffledBatches, load_task_data
from genifer.data.prepared_images import PreparedImages

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("digits")
    prepare(folder, DIGITS, {"tasks": [4, 3, 3], "class_order": "sorted"})
    return [folder / f"task_{task}_train.safetensors" for task in range(3)]


@pytest.fixture
def read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all images were large."""
    monkeypatch.setattr(prepared_images, "LARGE", 0)


def test_parts_are_indexed_like_one_tensor(files: list[Path]) -> None:
    images = load_task_data(files, CPU).images
    whole = torch.cat([load_task_data([path], CPU).images[:] for path in files])
    n = len(whole)
    assert len(images.parts) == 3
    assert (len(images), images.shape) == (n, whole.shape)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:50]
    mask = torch.arange(n) % 7 == 0
    for index in (0, n - 1, -1, slice(None), slice(5, n, 3), slice(-9, -2), rows, rows - n, mask, rows[:0]):
        assert torch.equal(images[index], whole[index])
    assert torch.equal(images[:, 0, 2:4], whole[:, 0, 2:4])
    assert torch.equal(torch.stack(list(images)), whole)
    assert images.float().mean() == whole.float().mean()
    assert torch.equal(torch.cat([images, whole]), torch.cat([whole, whole]))
    for row in (n, -n - 1):
        with pytest.raises(IndexError):
            images[row]
        with pytest.raises(IndexError):
            images[torch.tensor([0, row])]
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        getattr(images, "colour")  # noqa: B009


def test_files_are_mapped_not_copied(files: list[Path]) -> None:
    images = load_task_data(files[:1], CPU).images
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(files[0]) in line]
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    address = images.parts[0].data_ptr()
    assert any(start <= address < end for start, end in ranges)
    copied = load_task_data(files[:1], CPU, on_device=True).images.parts[0].data_ptr()
    assert not any(start <= copied < end for start, end in ranges)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.usefixtures("read_ahead")
def test_batches_that_are_read_ahead_are_the_same(files: list[Path], tasks: int, on_device: bool) -> None:
    data = load_task_data(files[:tasks], CPU, on_device)
    assert len(data.images.parts) == (1 if on_device else tasks)
    assert data.images.are_streamed is not on_device
    rng, plain_rng = (torch.Generator().manual_seed(3) for _ in range(2))
    shuffled, left, images = ShuffledBatches(data, 32, rng), torch.empty(0, dtype=torch.int64), data.images[:]
    for _ in range(3 * len(images) // 32):
        while len(left) < 32:
            left = torch.cat([left, torch.randperm(len(images), generator=plain_rng)])
        batch, left = left[:32], left[32:]
        drawn_images, drawn_labels = next(shuffled)
        assert torch.equal(drawn_images, images[batch])
        assert torch.equal(drawn_labels, data.labels[batch])
        # What else a step draws comes from the same generator.
        assert torch.equal(torch.rand(2, generator=rng), torch.rand(2, generator=plain_rng))
        assert torch.equal(shuffled.state_dict()["left"], left)


def test_resuming_does_not_depend_on_where_images_lie(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rng = load_task_data(files[:1], CPU), torch.Generator().manual_seed(0)
    first = ShuffledBatches(data, 32, rng)
    assert first.ahead is None
    for _ in range(4):
        next(first)
    state = {"left": first.state_dict()["left"], "rng": rng.get_state()}
    expected = [next(first)[0] for _ in range(40)]
    monkeypatch.setattr(prepared_images, "LARGE", 0)
    for steps_before in (0, 2):
        second = ShuffledBatches(data, 32, rng)
        assert second.ahead is not None
        for _ in range(steps_before):  # batches that were read ahead before the state was loaded are dropped
            next(second)
        second.load_state_dict(state)
        rng.set_state(state["rng"])
        assert all(torch.equal(next(second)[0], images) for images in expected)


@pytest.mark.usefixtures("read_ahead")
def test_a_thread_reads_what_comes_next(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    readers = []

    def read(self: PreparedImages, rows: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        readers.append(threading.current_thread().name.partition("_")[0])
        return original(self, rows, buffer)

    original = PreparedImages.read
    monkeypatch.setattr(PreparedImages, "read", read)
    data = load_task_data(files[:1], CPU)
    shuffled = ShuffledBatches(data, 32, torch.Generator().manual_seed(0))
    per_epoch = len(data.labels) // 32
    for _ in range(per_epoch):
        next(shuffled)
    assert readers == ["MainThread", *["images"] * (per_epoch - 1)]


def test_what_fits_a_gpu_is_kept_there(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_task_data(files[:1], CPU).images
    size = images.shape.numel()
    assert not batches._fits(images)  # on a CPU
    on_gpu = PreparedImages(images.parts, torch.device("cuda"), mapped=True)
    assert on_gpu.are_streamed
    for free, fits in ((4 * size, True), (4 * size - 4, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10 * free))
        assert batches._fits(on_gpu) is fits


@pytest.mark.usefixtures("read_ahead")
def test_exemplars_follow_the_images(files: list[Path]) -> None:
    images = load_task_data(files[:2], CPU).images
    more = torch.full((3, *images.shape[1:]), 7, dtype=torch.uint8)
    assert torch.equal(images.joined(more)[:], torch.cat([images[:], more]))


def test_images_of_a_class_and_in_order(files: list[Path]) -> None:
    data = load_task_data(files, CPU)
    for label in (0, 5, 9):
        assert torch.equal(data.of_class(label), data.images[:][data.labels == label])
    images, labels = (torch.cat(parts) for parts in zip(*data.in_order(100), strict=True))
    assert torch.equal(images, data.images[:])
    assert torch.equal(labels, data.labels)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU: make test-gpu")
@pytest.mark.parametrize("tasks", [1, 3])
def test_batches_are_the_same_on_a_gpu(files: list[Path], tasks: int) -> None:
    """Streamed or kept there: the same batches, and what a training draws besides them."""
    gpu, drawn = DEVICE, []
    for on_device in (True, False):
        data = load_task_data(files[:tasks], gpu, on_device)
        assert data.images.are_streamed is not on_device
        rng = torch.Generator(gpu).manual_seed(0)
        shuffled = ShuffledBatches(data, 32, rng)
        drawn.append([(*next(shuffled), torch.rand(2, generator=rng, device=gpu)) for _ in range(100)])
    for kept, streamed in zip(*drawn, strict=True):
        for one, other in zip(kept, streamed, strict=True):
            assert one.device.type == other.device.type == "cuda"
            assert torch.equal(one, other)
