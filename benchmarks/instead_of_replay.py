"""Experiments that show what a run loses by its replay: other samples or labels in its place, all else alike.

``config/ablations/cpu-options.yaml`` compares them with genifer. They are no methods to compete with: one
looks at images of old classes, which genifer does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from genifer.methods import Batch
from genifer.methods.genifer import Genifer, replay_losses

if TYPE_CHECKING:
    from torch import Tensor


class RealReplay(Genifer):
    """Genifer with real images of the old classes in place of the generator's."""

    name = "real_replay"
    images = "so_far"
    uses_gan = False

    def setup(self) -> None:
        """Find the images of old and of new classes."""
        self.teacher.train(not self.settings.freeze_old_batch_norm)
        old = self.data.labels < self.data.n_old
        self._old, self._new = old.nonzero()[:, 0], (~old).nonzero()[:, 0]

    def draw_batch(self) -> Batch:
        """Draw as many images of old classes as there would be samples of the generator."""
        n = self.n_replay
        replayed, new = self._draw(self._old, n), self._draw(self._new, self.settings.batch_size - n)
        images = self.augment(self.normalize(self.data.images[torch.cat([replayed, new])]))
        return Batch(images[n:], self.data.labels[new], images[:n])

    def _draw(self, positions: Tensor, n: int) -> Tensor:
        return positions[torch.randint(len(positions), (n,), generator=self.rng, device=positions.device)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Genifer's losses, with the images as replay."""
        assert batch.replay is not None
        return replay_losses(
            self.classifier, self.teacher, batch.replay, batch.images, batch.labels, self.settings
        )


class LabelledReplay(Genifer):
    """Genifer with the labels of its replay in place of the teacher's outputs."""

    name = "labelled_replay"

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy with the labels, of replay and real images in proportion to their numbers."""
        assert batch.replay is not None
        assert batch.replay_labels is not None
        logits = self.classifier(torch.cat([batch.replay, batch.images]))
        return {"loss": F.cross_entropy(logits, torch.cat([batch.replay_labels, batch.labels]))}

    def progress_loss(self, losses: dict[str, Tensor]) -> Tensor:
        """The only loss there is."""
        return losses["loss"]
