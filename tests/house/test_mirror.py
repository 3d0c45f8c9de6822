"""Tests mirror modules: whoever changes a module knows which file judges it."""

from __future__ import annotations

import pytest

from house import MODULES, SRC, TESTS, name_of

# Modules that hold nothing that could be wrong by itself.
NOTHING_TO_JUDGE = {"_version.py", "__main__.py"}

# Modules that meet the world are judged in it, under the name of what they do there.
JUDGED_BY = {
    "threaded.py": "test_session_threads",
    "adapters/google.py": "test_google_adapter",
    "adapters/server.py": "test_server_bad_input",
}

MIRRORED = [
    path for path in MODULES if path.name != "__init__.py" and path.relative_to(SRC).as_posix() not in NOTHING_TO_JUDGE
]
GROUND = {"errors.py", "events.py", "g711.py", "ports.py", "settings.py"}
FLOORS = {"adapters", "commands", "drivers"}
NAMES = {path.stem for path in TESTS.rglob("test_*.py")}
UNIT = {path.relative_to(TESTS / "unit").as_posix() for path in (TESTS / "unit").rglob("test_*.py")}


# Judged under another name than the module's own.
ELSEWHERE = {"threaded.py": "test_session_threads", "crew.py": "test_supervisor"}


@pytest.mark.parametrize("path", MIRRORED, ids=name_of)
def test_module_has_a_test_file(path):
    """The ground and the rules at the same place under tests/unit; the floors above, which meet the world, by name:
    ``test_<module>`` or ``test_<its package>``, alone or with more after it, in tests/unit or tests/wire."""
    inside = path.relative_to(SRC)
    if inside.parts[0] == "rules" or inside.as_posix() in GROUND:
        assert (inside.parent / f"test_{path.stem}.py").as_posix() in UNIT
    else:
        wanted = {f"test_{part}" for part in inside.with_suffix("").parts if part not in FLOORS}
        wanted.add(ELSEWHERE.get(inside.as_posix(), f"test_{path.stem}"))
        found = {name for name in NAMES for want in wanted if name == want or name.startswith(f"{want}_")}
        assert found, f"none of {sorted(wanted)}"


def test_what_is_judged_elsewhere_is_judged():
    assert set(ELSEWHERE.values()) <= NAMES


def test_no_two_test_files_have_one_name():
    """pytest imports them by name, and refuses the second."""
    names = [path.stem for path in TESTS.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    assert sorted({name for name in names if names.count(name) > 1}) == []
