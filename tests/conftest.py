"""What every test gets: a folder of its own for traces and remembered findings; a browser for those that want one."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import address, browser, context, page, runs

__all__ = ["address", "browser", "context", "page", "runs"]  # fixtures of the browser's tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", help="keep pictures of the pages with real models there")


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setattr("agent.records.database.folder", lambda: folder)
    return folder
