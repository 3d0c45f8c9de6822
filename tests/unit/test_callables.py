"""What ``module:callable`` names, and what is said of a name that cannot be loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastcall.callables import load_callable
from fastcall.errors import UsageError


def test_a_module_of_the_folder_that_one_is_in_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a console script is started: its own folder is on the path, the current one is not."""
    (tmp_path / "somebodys_agent.py").write_text("async def agent(call): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert load_callable("--handler", "somebodys_agent:agent").__name__ == "agent"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os", "use module:callable"),
        ("agent.py:answer", "agent:answer, perhaps"),
        ("no_such_module:x", "cannot be loaded: No module named"),
        ("os:no_such", "has no attribute 'no_such'"),
    ],
)
def test_the_message_names_the_option_and_what_is_wrong(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^--handler '{name}'.*{message}"):
        load_callable("--handler", name)


def test_what_a_module_raises_is_said_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_agent.py").write_text("\nraise LookupError('no key')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"LookupError: no key \(.*broken_agent\.py:2\)"):
        load_callable("--handler", "broken_agent:answer")
