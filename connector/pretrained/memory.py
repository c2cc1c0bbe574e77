"""The memory that a pretrained model will need, against what there is: told before anything is loaded."""

from __future__ import annotations

from experts.errors import ConfigError, ModelError

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.1, "int4": 0.6}  # a parameter, with its scales
MARGIN = 1.15  # activations and the cache of keys and values, beside the weights
LEAST = 300 << 20  # bytes that a question takes even of a small model
DEVICES = ("auto", "cpu", "cuda", "mps")


def place_of(device: str) -> str:
    """cpu, cuda or mps for a setting of auto or one of these.

    Raises:
        ConfigError: an unknown device.
        ModelError: it is not there.
    """
    import torch

    if device not in DEVICES:
        raise ConfigError(f"device '{device}' is unknown; accepted: {', '.join(DEVICES)}")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise ModelError(f"device '{device}' was asked for, but torch sees none; use device 'cpu' or 'auto'")
    return device


def needed_bytes(parameters: int, precision: str) -> int:
    """What a model of so many parameters takes while it answers."""
    return int(parameters * BYTES[precision] * MARGIN) + LEAST


def free_bytes(place: str) -> int:
    """What is free: on all GPUs together, or in the machine's memory."""
    import torch

    if place == "cuda":
        return sum(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        import psutil

        return int(psutil.virtual_memory().available)


def check_fits(name: str, parameters: int, precision: str, place: str) -> None:
    """Refuse a model that cannot fit, with figures and what would.

    Raises:
        ModelError: it needs more than is free.
    """
    needs, there = needed_bytes(parameters, precision), free_bytes(place)
    if needs <= there:
        return
    smaller = [kind for kind in ("bfloat16", "int8", "int4") if BYTES[kind] < BYTES[precision]]
    fits = [kind for kind in smaller if needed_bytes(parameters, kind) <= there]
    what = f"precision {fits[0]} would fit" if fits else "use a smaller model, or an endpoint"
    raise ModelError(
        f"model '{name}' has {parameters / 1e9:.2f} billion parameters and needs about {needs / 2**30:.1f} GiB in "
        f"{precision}, but {there / 2**30:.1f} GiB are free on {place}; {what}"
    )
