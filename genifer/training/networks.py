"""New networks from the settings."""

from __future__ import annotations

import torch
from torch import Tensor

from genifer.data.prepared_images import PreparedImages
from genifer.nn.classifier import Classifier
from genifer.nn.discriminator import Discriminator
from genifer.nn.generator import Generator, default_channels
from genifer.nn.stages import generated_side
from genifer.settings import ClassifierSettings, DiscriminatorSettings, GanSettings, GeneratorSettings
from genifer.training.pretrained import take_stages


def new_classifier(
    network: ClassifierSettings, channels: int, n_classes: int, device: torch.device
) -> Classifier:
    """Build a classifier for images with this number of channels, pretrained as the settings say."""
    classifier = Classifier(
        network.architecture, network.width, channels, n_classes, network.head_bias, network.stem
    )
    if network.pretrained is not None:
        take_stages(classifier, network.pretrained, network.pretrained_stages)
    return classifier.to(device).to(memory_format=torch.channels_last)


def new_gan(
    settings: GanSettings,
    generator_settings: GeneratorSettings,
    discriminator_settings: DiscriminatorSettings,
    classifier: Classifier,
    n_classes: int,
    images: Tensor | PreparedImages,
) -> tuple[Generator, Discriminator]:
    """Build a generator and a discriminator that fit a classifier and images (n, channels, size, size)."""
    image_channels, size = images.shape[1], images.shape[-1]
    stage, matching_stage = settings.generated_stage, settings.matching_stage
    generator = Generator(
        n_classes,
        generator_settings.latent_dim,
        generator_settings.embedding_dim,
        generator_settings.style_dim,
        generator_settings.channels or default_channels(generated_side(size, stage, classifier.stem)),
        classifier.feature_shape(stage, size)[0] if stage else image_channels,
        stage,
        classifier.feature_shape(stage, size)[1] if stage else size,
        generator_settings.normalize_inputs,
        generator_settings.mapping_learning_rate,
    )
    matched = classifier.feature_shape(matching_stage, size)
    return generator, Discriminator(n_classes, matching_stage, *matched, discriminator_settings.width)
