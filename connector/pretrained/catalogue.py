"""Known multimodal models of the hub: size, what they take, licence, and which one a machine gets by default. A data
table; any other model is opened by its name just so.
"""

from __future__ import annotations

from dataclasses import dataclass

from connector.pretrained.memory import free_bytes, needed_bytes, place_of

GIB = 1 << 30
BYTES_SHOWN = ("bfloat16", "int4")


@dataclass(frozen=True)
class Row:
    """A model that `duet models list` shows. `tier` is the free memory from which on it is the choice of "auto"."""

    name: str
    parameters: float  # billions
    modalities: tuple[str, ...]
    licence: str
    note: str = ""
    tier: float | None = None  # GiB; None: by name only

    def gib(self, precision: str) -> float:
        """Memory in GiB while it answers."""
        return needed_bytes(int(self.parameters * 1e9), precision) / GIB


SEES = ("image",)
WATCHES = ("image", "video")
HEARS = ("audio",)
ROWS = [
    Row("HuggingFaceTB/SmolVLM-256M-Instruct", 0.256, SEES, "apache-2.0", tier=0.0),
    Row("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 0.507, WATCHES, "apache-2.0", tier=3.0),
    Row("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 2.25, WATCHES, "apache-2.0", tier=7.0),
    Row("Qwen/Qwen3-VL-4B-Instruct", 4.44, WATCHES, "apache-2.0", tier=11.0),
    Row("Qwen/Qwen3-VL-8B-Instruct", 8.77, WATCHES, "apache-2.0", tier=21.0),
    Row("Qwen/Qwen2.5-VL-3B-Instruct", 3.75, WATCHES, "qwen-research", "not for commercial use"),
    Row("Qwen/Qwen2.5-VL-7B-Instruct", 8.29, WATCHES, "apache-2.0"),
    Row("Qwen/Qwen2-VL-2B-Instruct", 2.21, WATCHES, "apache-2.0"),
    Row("LiquidAI/LFM2-VL-450M", 0.451, SEES, "lfm1.0", "free below a yearly revenue"),
    Row("google/gemma-3-4b-it", 4.3, SEES, "gemma", "gated"),
    Row("OpenGVLab/InternVL3-1B-hf", 0.94, WATCHES, "apache-2.0"),
    Row("llava-hf/llava-1.5-7b-hf", 7.06, SEES, "llama2", "survey, Table VI"),
    Row("llava-hf/llava-1.5-13b-hf", 13.35, SEES, "llama2", "survey, Table VI"),
    Row("llava-hf/llava-v1.6-mistral-7b-hf", 7.57, SEES, "apache-2.0"),
    Row("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", 0.894, WATCHES, "apache-2.0"),
    Row("Salesforce/instructblip-vicuna-7b", 7.91, SEES, "other", "survey, Table VI"),
    Row("Salesforce/instructblip-flan-t5-xl", 4.02, SEES, "mit", "survey, Table VI"),
    Row("Salesforce/blip2-flan-t5-xl", 3.94, SEES, "mit", "survey, Table VI"),
    Row("google/paligemma-3b-mix-224", 2.92, SEES, "gemma", "gated"),
    Row("florence-community/Florence-2-base", 0.231, SEES, "mit", "a captioner: needs llm"),
    Row("Qwen/Qwen2-Audio-7B-Instruct", 8.4, HEARS, "apache-2.0"),
    Row("mistralai/Voxtral-Mini-3B-2507", 4.68, HEARS, "apache-2.0"),
]


def choose(free_gib: float, *, gpu: bool) -> Row:
    """The largest default that a machine holds; without a GPU one that also answers in seconds."""
    rows = [row for row in ROWS if row.tier is not None and row.tier <= free_gib and (gpu or row.parameters < 1)]
    return max(rows, key=lambda row: row.tier or 0.0)


def choose_here(device: str = "auto") -> Row:
    """`choose` for the memory that is free on this machine."""
    place = place_of(device)
    return choose(free_bytes(place) / GIB, gpu=place != "cpu")


def usual_for(row: Row) -> str:
    """Which machines get a row by default, "" where none does."""
    if row.tier is None:
        return ""
    return "no GPU, or a small one" if row.tier == 0 else f"from {row.tier:.0f} GiB of GPU memory"


def here(name: str) -> bool:
    """Whether a hub's model is on this machine already."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)
