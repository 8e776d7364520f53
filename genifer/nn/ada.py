"""Adaptive discriminator augmentation (Karras et al., 2020, appendix B), in plain PyTorch.

Geometric operations are combined into one affine map per image, colour operations into
another. Each image is resampled once: upsampled by 2 with the sym6 low-pass filter,
interpolated bilinearly at the positions given by the inverse map, and downsampled with
the mirrored filter. Both filters are constant band matrices here, including the reflection
at the border, so that no shape depends on the random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Low-pass filter of the symlet of order 6 (Daubechies, 1992, table 6.3); tap 5 is its centre."""
CENTRE = 5
MARGIN = 3
"""Width in pixels of the border around the output that the downsampling filter reads."""


class Operation(NamedTuple):
    """The strength of an operation as a function of a random variate; 0 leaves the image unchanged.

    Attributes:
        amount: maps a variate (n, axes) and the side of the image to the strength (n, axes).
        normal: whether the variate is normal; otherwise it is uniform.
        axes: number of variates.
    """

    amount: Callable[[Tensor, int], Tensor]
    normal: bool = False
    axes: int = 1


GEOMETRY: dict[str, Operation] = {
    "xflip": Operation(lambda u, _: torch.floor(2 * u)),
    "rotate90": Operation(lambda u, _: torch.floor(4 * u)),
    "xint": Operation(lambda u, size: torch.round(0.125 * (2 * u - 1) * size), axes=2),
    "scale": Operation(lambda n, _: 0.2 * n, normal=True),
    "rotate": Operation(lambda u, _: (2 * u - 1) * math.pi),
    "aniso": Operation(lambda n, _: 0.2 * n, normal=True),
    "rotate_again": Operation(lambda u, _: (2 * u - 1) * math.pi),
    "xfrac": Operation(lambda n, size: 0.125 * n * size, normal=True, axes=2),
}
COLOR: dict[str, Operation] = {
    "brightness": Operation(lambda n, _: 0.2 * n, normal=True),
    "contrast": Operation(lambda n, _: 0.5 * n, normal=True),
    "lumaflip": Operation(lambda u, _: torch.floor(2 * u)),
    "hue": Operation(lambda u, _: (2 * u - 1) * math.pi),
    "saturation": Operation(lambda n, _: n, normal=True),
}
OPERATIONS = GEOMETRY | COLOR

Amounts = dict[str, Tensor]
"""For each operation, its strength (n, axes) on each image."""


def draw_amounts(n: int, size: int, probability: Tensor, rng: torch.Generator) -> Amounts:
    """Draw the strength of each operation for n images with side ``size``.

    Each operation is applied to each image independently with probability p; the two rotations are
    each applied with probability 1 - sqrt(1 - p), so that at least one is applied with probability p.
    """
    device = probability.device
    columns = sum(operation.axes for operation in OPERATIONS.values())
    uniform = torch.rand(n, columns, generator=rng, device=device)
    normal = torch.randn(n, columns, generator=rng, device=device)
    chance = torch.rand(n, len(OPERATIONS), generator=rng, device=device)
    of_rotations = 1 - torch.sqrt(1 - probability)
    amounts: Amounts = {}
    column = 0
    for index, (name, operation) in enumerate(OPERATIONS.items()):
        variate = (normal if operation.normal else uniform)[:, column : column + operation.axes]
        threshold = of_rotations if name.startswith("rotate_") or name == "rotate" else probability
        acts = chance[:, index : index + 1] < threshold
        amounts[name] = torch.where(acts, operation.amount(variate, size), 0.0)
        column += operation.axes
    return amounts


def part_of(amounts: Amounts, start: int | None, stop: int | None) -> Amounts:
    """Return the strengths for the images from ``start`` to ``stop``."""
    return {name: amount[start:stop] for name, amount in amounts.items()}


class Augmentation(nn.Module):
    """Applies drawn operations to images of one size; differentiable.

    Attributes:
        up, down: band matrices of the filters: (2 * padded, size) and (size, 2 * (size + 6)).
        points: (2 * (size + 6), 2 * (size + 6), 2): x and y of the output points, in pixels from the centre.
        identity, along_grey, across_grey, turn: matrices (3, 3) from which colour operations are composed:
            the identity, the projections onto the grey axis and onto the plane across it, and the cross
            product with the grey axis.
    """

    up: Tensor
    down: Tensor
    points: Tensor
    identity: Tensor
    along_grey: Tensor
    across_grey: Tensor
    turn: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        up, down = _band_matrices(size)
        self.register_buffer("up", up)
        self.register_buffer("down", down)
        # The points are half a pixel apart, with a margin for the filter.
        line = torch.arange(down.shape[1]) / 2 - MARGIN - (size - 1) / 2
        y, x = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("points", torch.stack([x, y], dim=2))
        self.register_buffer("identity", torch.eye(3))
        self.register_buffer("along_grey", torch.full((3, 3), 1 / 3))
        self.register_buffer("across_grey", torch.eye(3) - 1 / 3)
        cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
        self.register_buffer("turn", cross / math.sqrt(3))

    def forward(self, images: Tensor, amounts: Amounts) -> Tensor:
        """Augment images (n, 1 or 3, size, size) with the strengths drawn for each."""
        if any(name in amounts for name in GEOMETRY):
            images = self._resample(images, *_inverse_map(amounts, len(images), images.device))
        if any(name in amounts for name in COLOR):
            images = _recolor(images, *self._color_map(amounts, len(images)))
        return images

    def _resample(self, images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
        size, up, down = self.size, self.up, self.down
        fine = up @ images.float() @ up.t()
        grid = torch.einsum("nij,hwj->nhwi", matrix, self.points) + offset[:, None, None]
        position = 2 * (grid + (size - 1) / 2 + (size - 1))
        read = (
            read_in_order if fine.is_cuda and torch.are_deterministic_algorithms_enabled() else read_bilinear
        )
        return down @ read(fine, position) @ down.t()

    def _color_map(self, amounts: Amounts, n: int) -> tuple[Tensor, Tensor]:
        """Return the affine map of the colours: matrix (n, 3, 3) and offset (n, 3)."""
        matrix = self.identity.repeat(n, 1, 1)
        offset = torch.zeros(n, 3, device=matrix.device)
        for name in COLOR:
            if name not in amounts:
                continue
            amount = amounts[name][:, :, None]
            match name:
                case "brightness":
                    offset = offset + amount.squeeze(2)
                    continue
                case "contrast":
                    step = torch.exp2(amount) * self.identity
                case "lumaflip":
                    step = self.identity - 2 * amount * self.along_grey
                case "hue":
                    turned = torch.cos(amount) * self.across_grey + torch.sin(amount) * self.turn
                    step = self.along_grey + turned
                case _:
                    step = self.along_grey + torch.exp2(amount) * self.across_grey
            matrix = step @ matrix
            offset = (step @ offset[:, :, None]).squeeze(2)
        return matrix, offset


def read_bilinear(images: Tensor, position: Tensor) -> Tensor:
    """Interpolate images (n, channels, size, size) bilinearly; outside they are zero.

    Args:
        position: (n, height, width, 2): x and y, in pixels from the centre of the first pixel.
    """
    # In grid_sample's coordinates pixel k of a line of n lies at (2 k + 1) / n - 1.
    grid = (2 * position + 1) / images.shape[-1] - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def read_in_order(images: Tensor, position: Tensor) -> Tensor:
    """Interpolate like `read_bilinear`, with a gradient that is bitwise reproducible on a GPU too.

    On a GPU the gradient of grid_sample is summed in the order in which threads arrive, and PyTorch rejects
    it if deterministic algorithms are required.
    """
    n, channels, size, _ = images.shape
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    first_of_image = size * size * torch.arange(n, device=images.device).view(-1, 1, 1)
    left, top = position.floor().unbind(-1)
    part_x, part_y = (position - position.floor()).unbind(-1)
    read = torch.zeros((), device=images.device)
    for x, of_x in ((left, 1 - part_x), (left + 1, part_x)):
        for y, of_y in ((top, 1 - part_y), (top + 1, part_y)):
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            row = size * y.clamp(0, size - 1).long() + x.clamp(0, size - 1).long()
            values = pixels.index_select(0, (first_of_image + row).flatten())
            read = read + (of_x * of_y * inside).unsqueeze(-1) * values.view(*row.shape, channels)
    return read.permute(0, 3, 1, 2)


def _inverse_map(amounts: Amounts, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the affine map from output points (x, y), relative to the centre, to input points.

    Returns:
        Matrix (n, 2, 2) and offset (n, 2), in pixels.
    """
    matrix = torch.eye(2, device=device).repeat(n, 1, 1)
    offset = torch.zeros(n, 2, device=device)
    for name in GEOMETRY:
        if name not in amounts:
            continue
        amount = amounts[name]
        if name in ("xint", "xfrac"):
            offset = offset - (matrix @ amount[:, :, None]).squeeze(2)
        else:
            matrix = matrix @ _linear_inverse(name, amount.squeeze(1))
    return matrix, offset


def _linear_inverse(name: str, amount: Tensor) -> Tensor:
    zero = torch.zeros_like(amount)
    match name:
        case "xflip":
            rows = (1 - 2 * amount, zero, zero, torch.ones_like(amount))
        case "scale":
            rows = (torch.exp2(-amount), zero, zero, torch.exp2(-amount))
        case "aniso":
            rows = (torch.exp2(-amount), zero, zero, torch.exp2(amount))
        case _:
            angle = amount * (math.pi / 2) if name == "rotate90" else amount
            rows = (torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle))
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def _band_matrices(size: int) -> tuple[Tensor, Tensor]:
    """Return the filters: upsampling (2 * padded, size), reflected at the border, and downsampling.

    The downsampling matrix is (size, 2 * (size + 6)).
    """
    taps = [tap / sum(SYM6) for tap in SYM6]
    border = size - 1
    padded = size + 2 * border
    up = torch.zeros(2 * padded, size, dtype=torch.float64)
    for fine in range(2 * padded):
        for index, tap in enumerate(taps):
            coarse, odd = divmod(fine + CENTRE - index, 2)
            if not odd and 0 <= coarse < padded:
                mirrored = abs(coarse - border)
                mirrored = min(mirrored, 2 * border - mirrored)
                up[fine, mirrored] += 2 * tap
    down = torch.zeros(size, 2 * (size + 2 * MARGIN), dtype=torch.float64)
    for coarse in range(size):
        for index, tap in enumerate(taps):
            down[coarse, 2 * (coarse + MARGIN) + index - CENTRE] += tap
    return up.float(), down.float()


def _recolor(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    if images.shape[1] == 3:
        return torch.einsum("nij,njhw->nihw", matrix, images.float()) + offset[:, :, None, None]
    # A grey image is an RGB image with three equal channels.
    scale = matrix.sum(2).mean(1).view(-1, 1, 1, 1)
    return scale * images.float() + offset.mean(1).view(-1, 1, 1, 1)


class AdaController:
    """Adapts the probability of augmentation to how often the discriminator recognises real samples.

    Every ``interval`` steps the probability increases if the mean sign of D(real) over these steps is
    above the target, otherwise it decreases. Nothing waits for the device.
    """

    def __init__(
        self,
        target: float,
        interval: int,
        full_range_steps: int,
        max_probability: float,
        probability: float,
        device: torch.device,
    ) -> None:
        self.target = target
        self.interval = interval
        self.step_size = interval / full_range_steps
        self.max_probability = max_probability
        self.probability = torch.tensor(probability, device=device)
        self.signs = torch.zeros(interval, device=device)

    def state_dict(self) -> dict[str, Tensor]:
        return {"probability": self.probability, "signs": self.signs}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.probability = state["probability"].to(self.signs.device)
        self.signs.copy_(state["signs"])

    def update(self, step: int, mean_sign: Tensor) -> None:
        """Record the mean sign of D(real) at a step (counted from 0); adapt the probability if it is due."""
        self.signs[step % self.interval] = mean_sign
        if step % self.interval == 0:
            move = torch.sign(self.signs.mean() - self.target) * self.step_size
            self.probability = (self.probability + move).clamp(0, self.max_probability)
