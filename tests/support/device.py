"""The device on which trainings of the tests run: ``make test-gpu`` runs those that matter on a GPU."""

from __future__ import annotations

import os

import torch

DEVICE = torch.device(os.environ.get("GENIFER_TEST_DEVICE", "cpu"))
ON_GPU = DEVICE.type == "cuda"
