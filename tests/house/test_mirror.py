"""Tests mirror modules: whoever changes a module knows which file judges it."""

from __future__ import annotations

import pytest

from house import MODULES, SRC, TESTS, name_of

# Modules that hold nothing that could be wrong by itself.
NOTHING_TO_JUDGE = {"_version.py", "__main__.py"}

MIRRORED = [
    path for path in MODULES if path.name != "__init__.py" and path.relative_to(SRC).as_posix() not in NOTHING_TO_JUDGE
]
NAMES = {path.stem for path in TESTS.rglob("test_*.py")}
UNIT = {path.relative_to(TESTS / "unit").as_posix() for path in (TESTS / "unit").rglob("test_*.py")}


@pytest.mark.parametrize("path", MIRRORED, ids=name_of)
def test_module_has_a_test_file(path):
    """The ground and the rules at the same place under tests/unit; the floors above, which meet the world, by name:
    ``test_<module>`` or ``test_<its package>``, in tests/unit or tests/wire."""
    inside = path.relative_to(SRC)
    if len(inside.parts) == 1 or inside.parts[0] == "rules":
        assert (inside.parent / f"test_{path.stem}.py").as_posix() in UNIT or f"test_{path.stem}" in NAMES
    else:
        wanted = {f"test_{part}" for part in inside.with_suffix("").parts[1:]}
        wanted |= {f"test_{path.stem}_command"} if inside.parts[0] == "commands" else set()
        assert wanted & NAMES, f"none of {sorted(wanted)}"
