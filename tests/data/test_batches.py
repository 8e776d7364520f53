from __future__ import annotations

from pathlib import Path

import torch
from support.data_files import DIGITS, load, prepare

from genifer.data.batches import Normalization, ShuffledBatches, random_crop_and_flip


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
