"""The random numbers of a job, which depend only on its name, its task and the run's seed."""

from __future__ import annotations

import hashlib

import torch


def job_seed(seed: int, job: str, task: int) -> int:
    """Return a 63-bit seed from the run's seed, the job (which names the method) and the task."""
    digest = hashlib.sha256(f"{seed}/{job}/{task}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seeded_generator(seed: int, device: torch.device) -> torch.Generator:
    """Seed PyTorch's global generator (initial weights) and return a new one for a job's random numbers."""
    torch.manual_seed(seed)
    return torch.Generator(device).manual_seed(seed)
