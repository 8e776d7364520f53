"""Commands that prepare data and train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genifer.cli import options as o


@o.shared_options
def download_data(
    output: Annotated[Path, o.option("--output", "The archive to write.")], options: o.JobOptions
) -> None:
    """Download the data set's archive; an interrupted download continues."""
    from genifer.data.download import download_archive

    run = options.load("download_data")
    download_archive(run.registry.dataset(run.data.dataset), run.data, output)


def download_weights(
    architecture: Annotated[str, typer.Argument(help="resnet18, resnet34 or resnet50.")],
    output: Annotated[Path, o.option("--output", "The file to write.")],
) -> None:
    """Download torchvision's ImageNet weights; an interrupted download continues."""
    from genifer.data.download import download_weights as download

    download(architecture, output)


@o.shared_options
def prepare_data(
    output: Annotated[Path, o.option("--output", "Folder for the prepared files.")],
    options: o.JobOptions,
    archive: Annotated[
        Path | None, o.option("--archive", "Downloaded archive, if the data set has one.")
    ] = None,
) -> None:
    """Split a data set into tasks."""
    import torch

    from genifer.data.prepare import prepare_data as prepare
    from genifer.runtime.status import record_job

    run = options.load("prepare_data")
    prepare(
        run.registry.dataset(run.data.dataset), run.data, run.scenario.of_seed(options.seed), archive, output
    )
    record_job(output, "prepare_data", torch.device("cpu"))


@o.shared_options
def use_checkpoint(
    data: o.Data,
    output: Annotated[Path, o.option("--output", "The checkpoint to write.")],
    options: o.JobOptions,
    classifier: Annotated[Path | None, o.option("--classifier", "Checkpoint of a classifier.")] = None,
    gan: Annotated[Path | None, o.option("--gan", "Checkpoint of a GAN, instead of --classifier.")] = None,
) -> None:
    """Use an existing checkpoint instead of training one."""
    from genifer.training.start import use_checkpoint as use

    use(options.load("use_checkpoint"), classifier, gan, data[0], output)


@o.shared_options
def pretrain_classifier(
    data: o.Data, output: o.Output, options: o.JobOptions, pretrained: o.Pretrained = None
) -> None:
    """Train the classifier on the first task."""
    with options.training("pretrain_classifier") as run:
        from genifer.training.classifier import pretrain_classifier as pretrain
        from genifer.training.job import job_of
        from genifer.training.pretrained import with_weights_file

        network = with_weights_file(run.classifier, pretrained)
        given = {"pretrained classifier": network.pretrained}
        with job_of("pretrain_classifier", run, options.seed, data, given, output, options.settings) as job:
            pretrain(job, network, run.pretrain_classifier, data)


@o.shared_options
def pretrain_gan(data: o.Data, classifier: o.Classifier, output: o.Output, options: o.JobOptions) -> None:
    """Train the GAN on the first task."""
    with options.training("pretrain_gan") as run:
        from genifer.training.gan import pretrain_gan as pretrain
        from genifer.training.job import job_of

        given = {"classifier": classifier}
        with job_of("pretrain_gan", run, options.seed, data, given, output, options.settings) as job:
            networks = (run.generator, run.discriminator)
            pretrain(job, *networks, run.gan, run.pretrain_gan, data, classifier)


@o.shared_options
def train(
    method: Annotated[str, typer.Argument(help="Name of a method; `genifer methods` lists them.")],
    data: o.Data,
    output: o.Output,
    options: o.JobOptions,
    old_classifier: o.OldClassifier = None,
    old_gan: o.OldGan = None,
    pretrained: o.Pretrained = None,
) -> None:
    """Learn the next task with a method."""
    name = f"train_{method}"
    with options.training(name, method) as run:
        from genifer.training.classifier import train_task
        from genifer.training.job import job_of
        from genifer.training.pretrained import with_weights_file

        of_run = run.registry.method(method)
        given = {"old classifier": old_classifier, "old GAN": old_gan}
        network = run.classifier
        if old_classifier is None:
            network = with_weights_file(network, pretrained)
            given["pretrained classifier"] = network.pretrained
        with job_of(name, run, options.seed, data, given, output, options.settings) as job:
            train_task(job, of_run, run.of_method(of_run), network, data, old_classifier, old_gan)


@o.shared_options
def train_gan(
    data: o.Data,
    classifier: o.Classifier,
    old_gan: Annotated[Path, o.option("--old-gan", "GAN after the previous task.")],
    output: o.Output,
    options: o.JobOptions,
) -> None:
    """Train the GAN on a later task, with distillation from the old GAN."""
    with options.training("train_gan") as run:
        from genifer.training.gan import train_gan as train_on
        from genifer.training.job import job_of

        given = {"classifier": classifier, "old GAN": old_gan}
        with job_of("train_gan", run, options.seed, data, given, output, options.settings) as job:
            train_on(job, run.gan, run.train_gan, data, classifier, old_gan)


COMMANDS = {
    "Data": (download_data, download_weights, prepare_data, use_checkpoint),
    "Training": (pretrain_classifier, pretrain_gan, train, train_gan),
}
