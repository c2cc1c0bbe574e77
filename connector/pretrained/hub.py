"""Models of a hub: fetched whole or not at all, at one commit, safetensors and configs only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from experts.errors import InputError, WeightsError

PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md"]  # no program, no pickle


def snapshot(
    name: str, revision: str = "main", report: Callable[[str], None] | None = None, *, progress: bool = False
) -> tuple[Path, str]:
    """The folder of a hub's model and its commit; fetched first where it is not here, with `progress` on stderr.

    Raises:
        InputError: the hub has no such model, or nobody but members may have it.
        WeightsError: the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if progress else disable_progress_bars)()
    offline = bool(os.environ.get("DUET_OFFLINE") or os.environ.get("HF_HUB_OFFLINE"))
    try:
        if not offline and report is not None:
            report(f"fetching {name} ({revision})")
        folder = snapshot_download(name, revision=revision, allow_patterns=PATTERNS, local_files_only=offline)
    except GatedRepoError:
        raise InputError(
            f"model '{name}' is gated: its owner lets members in only; accept its terms on the hub and set HF_TOKEN, "
            "or name another"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(f"the hub has no model '{name}'; check the name, or see `duet models list`") from None
    except RevisionNotFoundError:
        raise InputError(f"model '{name}' has no revision '{revision}'; leave it out for the newest") from None
    except HFValidationError:
        raise InputError(f"'{name}' is no name of a model; accepted: OWNER/MODEL, or a folder") from None
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        why = "no network is used (DUET_OFFLINE)" if offline else f"the hub cannot be reached ({type(error).__name__})"
        raise WeightsError(
            f"model '{name}' is not on this machine, and {why}; fetch it with `duet models fetch {name}` where there "
            "is a network, or name a folder"
        ) from None
    return Path(folder), Path(folder).name
