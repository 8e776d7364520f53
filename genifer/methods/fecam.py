"""FeCAM (Goswami et al., 2023): Mahalanobis distances to class means on frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from genifer.methods.frozen import FrozenExtractor
from genifer.settings import FrozenSettings, Weight

if TYPE_CHECKING:
    from torch import Tensor


class FecamSettings(FrozenSettings):
    """Settings of the distances."""

    exponent: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="power to which features are raised (Tukey's transformation); 1: unchanged"
    )
    covariance: Literal["class", "common"] = Field(
        "class", description="class: one covariance per class; common: their mean, for all classes"
    )
    variance_shrinkage: Weight = Field(
        1.0, description="multiple of the mean variance that is added to each variance"
    )
    covariance_shrinkage: Weight = Field(
        1.0, description="multiple of the mean covariance that is added to each covariance"
    )


class Fecam(FrozenExtractor):
    """Frozen extractor: nearest class mean by Mahalanobis distance, with one covariance per class.

    FeCAM of Goswami et al. (2023, section 3): features are raised to a power; covariances are shrunk and
    normalised to correlations. Omitted: the authors' code scales the transformed features and means to unit
    length before it compares them. The memory holds one mean per class, and one matrix per class or for all.
    """

    name = "fecam"
    version = 1
    Settings = FecamSettings
    only_for_training = ("covariance",)
    settings: FecamSettings

    def features(self, images: Tensor) -> Tensor:
        """Return the transformed pooled features (n, features), float, of normalised images."""
        # The pooled features are means after a ReLU, so they are never negative.
        return super().features(images) ** self.settings.exponent

    def finish(self) -> dict[str, Tensor]:
        """Add the means and inverse covariances of the task's classes."""
        import torch

        features, labels = self.features_of_task()
        memory = {"means": self.means_so_far(features, labels)}
        covariances = [_covariance(features[labels == label]) for label in self.new_classes()]
        if self.settings.covariance == "class":
            inverses = [
                self.inverse(covariance, f"of class {self.data.class_names[label]}")
                for label, covariance in zip(self.new_classes(), covariances, strict=True)
            ]
            return memory | {"inverses": torch.stack([*self.memory.get("inverses", []), *inverses])}
        total = torch.stack(covariances).sum(0)
        if self.memory:
            total += self.memory["covariance"] * self.data.n_old
        common = total / (self.data.n_old + self.data.n_new)
        inverse = self.inverse(common, "that all classes share")
        return memory | {"covariance": common, "inverses": inverse[None]}

    def inverse(self, covariance: Tensor, of_what: str) -> Tensor:
        """Shrink a covariance (features, features), normalise it, and invert it.

        Raises:
            GeniferError: the covariance is singular.
        """
        import torch

        from genifer.errors import GeniferError

        settings, dim = self.settings, len(covariance)
        of_class = settings.covariance == "class"
        variances = covariance.diagonal()
        if not variances.any():
            share = "share one covariance (fecam.covariance: common), or " if of_class else ""
            raise GeniferError(
                f"fecam.covariance: {settings.covariance}: the covariance {of_what} is zero: all images of "
                f"a class have the same features, or there is only one image; {share}use more images per "
                "class (data.train_images_per_class)"
            )
        others = (covariance.sum() - variances.sum()) / max(dim * (dim - 1), 1)
        shrunk = covariance + settings.covariance_shrinkage * others
        diagonal = variances + settings.variance_shrinkage * variances.mean()
        shrunk.diagonal().copy_(diagonal)
        scale = diagonal.sqrt()
        factor, failed = torch.linalg.cholesky_ex(shrunk / (scale[:, None] * scale))
        if failed or not factor.isfinite().all():
            raise GeniferError(
                f"fecam.variance_shrinkage: {settings.variance_shrinkage} leaves the covariance {of_what} "
                f"singular ({dim} features); raise it"
                + (", or share one covariance (fecam.covariance: common)" if of_class else "")
            )
        return torch.cholesky_inverse(factor).float()

    def logits(self, images: Tensor) -> Tensor:
        """Return the negative squared Mahalanobis distances to the class means."""
        import torch

        difference = self.features(images)[:, None] - self.memory["means"]
        inverses = self.memory["inverses"].expand(difference.shape[1], -1, -1)
        return -torch.einsum("ncd,cde,nce->nc", difference, inverses, difference)


def _covariance(features: Tensor) -> Tensor:
    """Return the covariance (features, features) of a class in float64; zero for a single image."""
    import torch

    return torch.cov(features.double().T, correction=min(len(features) - 1, 1))
