"""Parts: what is frozen and what learns in a stage, the LoRA adapter, and the tensors that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.training.stages import PROJECTIONS, StageConfig
from experts.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import nn

ADAPTER = "duet"


def prepare(model: Any, config: StageConfig, start: Path | None = None) -> None:
    """Freeze everything, load `start`, add the adapter if the stage or its start has one, then free what learns.

    Raises:
        TrainingError: the language model already carries a merged adapter, `start` does not fit, or nothing learns.
    """
    kept = _meant_frozen(model.connector)
    model.connector.requires_grad_(False)
    uses_llm = config.stage != "warmup"
    model.llm.model.requires_grad_(False)
    saved = load_start(start) if start else {}
    lora = {key: value for key, value in saved.items() if key.startswith("lora.")}
    if start and (start / "llm").is_dir() and uses_llm:
        model.llm.model.load_state_dict(_whole(start / "llm"))
    if uses_llm and (config.learns("lora") or lora) and not has_adapter(model):
        if getattr(model.llm, "adapter", ""):
            raise TrainingError(
                f"the language model already carries adapter {model.llm.adapter}, merged; load it fresh and pass the "
                "saved model as the start"
            )
        add_adapter(model, config)
    if start:
        restore(
            model, {key: value for key, value in saved.items() if uses_llm or key.startswith("connector.")}, start.name
        )
    wanted = [name.partition(".")[2] for name in config.parts if name.split(".")[0] == "connector"]
    for name, parameter in model.connector.named_parameters():
        parameter.requires_grad_(name not in kept and any(name.startswith(prefix) for prefix in wanted))
    if uses_llm:
        for name, parameter in model.llm.model.named_parameters():
            parameter.requires_grad_(config.learns("lora") if ".lora_" in name else config.learns("llm"))
    if not any(True for _ in learning(model)):
        raise TrainingError(f"nothing learns in stage '{config.stage}' with learn = {list(config.parts)}")


def _meant_frozen(connector: Any) -> tuple[str, ...]:
    """Parameters that the connector itself keeps from learning: its `fixed`, else what was frozen when it came here."""
    if not hasattr(connector, "fixed"):
        frozen = tuple(name for name, parameter in connector.named_parameters() if not parameter.requires_grad)
        connector.fixed = frozen if len(frozen) < sum(1 for _ in connector.parameters()) else ()
    return connector.fixed


def has_adapter(model: Any) -> bool:
    """Whether a LoRA (not merged) sits in the language model."""
    return any(".lora_" in name for name, _ in model.llm.model.named_parameters())


def add_adapter(model: Any, config: StageConfig) -> None:
    """Put a LoRA (Hu et al. 2021, arXiv 2106.09685) on every linear projection, float32, starting as no change."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    llm = model.llm.model
    names = {name.rsplit(".", 1)[-1] for name, module in llm.named_modules() if isinstance(module, torch.nn.Linear)}
    targets = [name for name in PROJECTIONS if name in names]
    if not targets:
        raise TrainingError(f"the language model has none of the projections {', '.join(PROJECTIONS)} to adapt")
    torch.manual_seed(config.seed)
    inject_adapter_in_model(
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=targets,
        ),
        llm,
        adapter_name=ADAPTER,
    )
    for name, parameter in llm.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()


def _adapted(model: Any) -> Iterator[tuple[str, Any]]:
    """(name in the plain language model, adapted layer) of every projection with a LoRA."""
    for name, module in model.llm.model.named_modules():
        if hasattr(module, "lora_A") and ADAPTER in getattr(module, "lora_A", {}):
            yield f"{name}.weight", module


def adapter_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The LoRA as `ConnectorModel.save` wants it: PARAMETER.lora_A [r, in] and PARAMETER.lora_B [out, r], scaled."""
    tensors = {}
    for name, module in _adapted(model):
        tensors[f"{name}.lora_A"] = module.lora_A[ADAPTER].weight.detach()
        tensors[f"{name}.lora_B"] = module.lora_B[ADAPTER].weight.detach() * module.scaling[ADAPTER]
    return tensors


def learning(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """(name, parameter) of all that learns: connector.*, lora.PARAMETER.A|B, llm.*."""
    for name, parameter in parameters(model):
        if parameter.requires_grad:
            yield name, parameter


def learned(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of what a checkpoint must hold: what learns, and all of connector and adapter, buffers too."""
    for name, parameter in parameters(model):
        if parameter.requires_grad or name.startswith("lora."):
            yield name, parameter
    for name, value in model.connector.state_dict(keep_vars=True).items():
        if not value.requires_grad:
            yield f"connector.{name}", value


def parameters(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """(name, parameter) of connector, adapter and language model, under names that do not depend on wrappers."""
    for name, parameter in model.connector.named_parameters():
        yield f"connector.{name}", parameter
    for name, parameter in model.llm.model.named_parameters():
        if ".lora_" in name:
            stem, _, side = name.partition(".lora_")
            yield f"lora.{stem}.{side[0]}", parameter
        else:
            yield f"llm.{name.replace('.base_layer.', '.')}", parameter


def load_start(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved model or of a run's newest good checkpoint, under the names of `parameters`.

    A saved adapter is scaled already, so its two sides come back under `lora.STEM.A` and, marked, `scaled.STEM.B`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from connector.training.checkpoints import newest

    try:
        if (folder / "connector.safetensors").is_file():
            tensors = {f"connector.{k}": v.float() for k, v in load_file(folder / "connector.safetensors").items()}
            if (folder / "lora.safetensors").is_file():
                for key, value in load_file(folder / "lora.safetensors").items():
                    stem, _, side = key.rpartition(".weight.lora_")
                    tensors[f"lora.{stem}.{side}" + (".scaled" if side == "B" else "")] = value.float()
            return tensors
        found = newest(folder)
        if found:
            return load_file(found / "learned.safetensors")
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot start from '{folder.name}': {error}") from None
    raise TrainingError(f"'{folder.name}' is neither a saved model (connector.safetensors) nor a run with a checkpoint")


def _whole(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a language model that was trained in full."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def restore(model: Any, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copy tensors into the parameters (and the connector's buffers) of the same name.

    Raises:
        TrainingError: names or shapes differ; the message lists them.
    """
    import torch

    own = {name: value for name, value in parameters(model) if not name.startswith("llm.")}
    own |= {f"connector.{name}": value for name, value in model.connector.state_dict(keep_vars=True).items()}
    own |= {name: value for name, value in parameters(model) if name in tensors}
    scaling = {name.removesuffix(".weight"): module.scaling[ADAPTER] for name, module in _adapted(model)}
    faults = []
    with torch.no_grad():
        for key, value in tensors.items():
            name, scaled = key.removesuffix(".scaled"), key.endswith(".scaled")
            target = own.get(name)
            if target is None or target.shape != value.shape:
                faults.append(
                    f"{name}: file {list(value.shape)}, model {list(target.shape) if target is not None else 'none'}"
                )
                continue
            stem = name.removeprefix("lora.").removesuffix(".B")
            target.copy_(value / scaling[stem] if scaled else value)
    if faults:
        raise TrainingError(f"'{source}' does not fit this model: {'; '.join(faults[:5])}")


def freeze_table(model: Any, config: StageConfig) -> str:
    """Which parts learn, with parameter counts, as lines for people."""
    counts: dict[str, list[int]] = {"connector": [0, 0], "lora": [0, 0], "llm": [0, 0]}
    for name, parameter in parameters(model):
        count = counts[name.split(".")[0]]
        count[0] += parameter.numel()
        count[1] += parameter.numel() if parameter.requires_grad else 0
    lines = [
        f"{'part':<12}{'parameters':>14}{'learn':>14}  rate",
        f"{'encoder':<12}{'':>14}{0:>14,}  frozen, features kept",
    ]
    for part, (whole, free) in counts.items():
        rate = f"{getattr(config, f'lr_{part}'):g}" if free else "frozen" if whole else "none"
        lines.append(f"{part:<12}{whole:>14,}{free:>14,}  {rate}")
    everything, learns = (sum(count[i] for count in counts.values()) for i in (0, 1))
    lines.append(f"{'together':<12}{everything:>14,}{learns:>14,}  {learns / max(everything, 1):.2%} of all")
    return "\n".join(lines)
