"""The verbs of the Makefile, and the commands that the README tells people to type."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import subprocess

import pytest

from fastcall.cli.main import build_parser
from house import ROOT

VERBS = {"help", "build", "demo", "serve", "test", "check", "bench", "gates", "clean"}
VERBS |= {"bench-table", "sanitize", "coverage", "fuzz", "density", "soak"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def targets() -> set[str]:
    phony = re.search(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)
    rules = {name for line in re.findall(r"^([a-z][\w -]*):", MAKEFILE, re.MULTILINE) for name in line.split()}
    assert phony
    assert set(phony[1].split()) == rules, "each verb is phony, and has a rule"
    return rules


def shell_lines(name: str) -> list[str]:
    """The lines of the ```sh blocks of a document, continuation lines joined."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^[ ]*```sh\n(.*?)^[ ]*```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().split(" #")[0] for line in lines if line.strip() and not line.strip().startswith("#")]


@functools.cache
def help_of(name: str) -> str:
    """Of a command; empty if there is none of this name."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        build_parser().parse_args([name, "--help"])
    return said.getvalue()


def test_verbs_exist():
    assert targets() >= VERBS


def test_help_names_every_verb():
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert set(re.findall(r"^make ([\w-]+) +\S", told, re.MULTILINE)) == targets() - {"help"}


def test_the_tests_that_verbs_name_exist():
    names = re.findall(r"\$\(addprefix (\S+),\$\(addsuffix (\S+),([^)]*)\)\)", MAKEFILE.replace("\\\n", " "))
    assert len(names) >= 2
    paths = [f"{prefix}{name}{suffix}" for prefix, suffix, all_of_it in names for name in all_of_it.split()]
    paths += re.findall(r"(?<![\w.,/])tests/[\w/.*]+", MAKEFILE)
    paths = [path for path in paths if not path.endswith("/test_")]
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_continuous_integration_runs_the_verbs():
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    verbs = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^make .*$", text, re.MULTILINE))))
    assert {"check", "test", "gates"} <= verbs


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_commands_in_documents_exist(document):
    lines = shell_lines(document)
    assert lines, f"{document} shows no command"
    for line in lines:
        for verb in re.findall(r"(?:^|&& |; )make (?:\w+=\S+ )*([a-z]\w*)", line):
            assert verb in targets(), line
        for name, rest in re.findall(r"(?:^|[/ ])fastcall ([a-z][\w-]*)([^&|;]*)", line):
            assert help_of(name), line
            for option in re.findall(r"(?<=\s)--[a-z][\w-]*", rest):
                assert re.search(rf"{option}\b", help_of(name)), f"{option} in: {line}"
