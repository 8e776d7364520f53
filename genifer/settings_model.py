"""The settings of a run, with the blocks of all methods in a registry."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field, create_model

from genifer.config import DataSettings, RunSettings
from genifer.data.dataset import Dataset
from genifer.methods.method import Method
from genifer.registry import Registry


def settings_model(registry: Registry) -> type[RunSettings]:
    """Return the class of a run's settings with a block for each method in a registry."""
    return _model(tuple(registry.methods.values()), tuple(registry.datasets.values()))


@cache
def _model(methods: tuple[type[Method], ...], datasets: tuple[type[Dataset], ...]) -> type[RunSettings]:
    known_methods, known_datasets = (
        "; ".join(f"{cls.name} ({_phrase(cls.summary())})" for cls in classes)
        for classes in (methods, datasets)
    )
    data_field = DataSettings.model_fields["dataset"]
    data = create_model(
        "DataSettings",
        __base__=DataSettings,
        __doc__=DataSettings.__doc__,
        dataset=(str, Field(data_field.default, description=f"name of a data set: {known_datasets}")),
    )
    field = RunSettings.model_fields["methods"]
    methods_text = (
        f"list of methods: {known_methods}; or of variants, such as "
        "{no-ada: {method: genifer, gan: {ada: {mode: none}}}}; or a mapping from labels to variants"
    )
    blocks: dict[str, Any] = {
        "methods": (field.annotation, Field(field.default, description=methods_text)),
        "data": (data, data()),
    } | {
        method.name: (method.Settings, Field(method.Settings(), description=method.summary()))
        for method in methods
    }
    return create_model("RunSettings", __base__=RunSettings, __doc__=RunSettings.__doc__, **blocks)


def _phrase(sentence: str) -> str:
    """Turn a sentence into part of another one."""
    text = sentence.rstrip(".")
    return text[:1].lower() + text[1:]
