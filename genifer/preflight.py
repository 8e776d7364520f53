"""Checks before a run starts: data at hand, tasks and classes, device, and time on a CPU."""
from genifer.config import RunSettings


def preflight(settings: RunSettings, device: str) -> None:
    from genifer.runtime.device import pick_device
    pick_device(device)
