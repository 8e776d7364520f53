"""Random numbers of a stage, which depend on nothing but its own name and the run's seed."""

from __future__ import annotations

import hashlib

import torch


def stage_seed(seed: int, stage: str, task: int) -> int:
    """A 63-bit seed from run seed, stage (which names the method) and task."""
    digest = hashlib.sha256(f"{seed}/{stage}/{task}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seeded_generator(seed: int, device: torch.device) -> torch.Generator:
    """Seed PyTorch's global generator (initial weights) and make one for a stage's draws."""
    torch.manual_seed(seed)
    return torch.Generator(device).manual_seed(seed)
