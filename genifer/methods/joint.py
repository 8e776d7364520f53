"""Joint training, the upper bound of continual learning."""

from __future__ import annotations

from pydantic import Field

from genifer.methods.method import Method
from genifer.settings import OptimizerSettings, PositiveInt, TrainingSettings


class JointSettings(TrainingSettings):
    """Settings of the upper bound; the defaults are those of the first task."""

    steps: PositiveInt = Field(78_100, description="optimizer steps per task")
    optimizer: OptimizerSettings = OptimizerSettings()


class Joint(Method):
    """Upper bound: trains on the images of all tasks so far."""

    name = "joint"
    version = 3
    Settings = JointSettings
    images = "so_far"
