"""The loops of every instruction set, in a C program of their own: other compilers and processors than the core's."""

from __future__ import annotations

import shutil

import pytest

from fastcall import _codec
from native import COMPILERS, HEADERS, build_and_run, has_compiler
from thoroughness import THOROUGH

# What a compiler makes of the loops is what its optimiser does: without it, one of them is enough.
BUILDS = [(name, "-O3") for name in COMPILERS] + [(name, "-O0") for name in COMPILERS if THOROUGH or name == "own"]


@pytest.mark.parametrize(("compiler", "optimisation"), BUILDS)
def test_every_kernel_is_right(compiler, optimisation):
    if not has_compiler(compiler):
        pytest.skip(f"no {COMPILERS[compiler][0]} (and, for Arm, qemu-user) here")
    done = build_and_run("kernels.c", compiler, optimisation)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = ("plain", "neon") if compiler == "arm" else _codec.instruction_sets()
    assert tuple(done.stdout.split()) == expected


@pytest.mark.parametrize(
    ("header", "right", "wrong", "message"),
    [
        ("g711.h", "step > 8158 ? 8158", "step > 8158 ? 7000", "plain: mulaw_encode differs"),
        ("base64.h", "'/');", "'-');", "ssse3: base64 differs"),
        ("base64.h", "source[1] << 8 : 0", "source[1] << 9 : 0", "plain: base64_encode differs"),
        ("g711_x86.h", "at > samples - FASTCALL_WIDTH ?", "0 ?", "ssse3: mulaw_decode differs"),
    ],
)
def test_the_judge_can_fail(tmp_path, header, right, wrong, message):
    if message.startswith("ssse3") and "ssse3" not in _codec.instruction_sets():
        pytest.skip("these loops are not here")
    shutil.copytree(HEADERS, tmp_path / "headers", ignore=lambda _, names: [n for n in names if not n.endswith(".h")])
    spoiled = tmp_path / "headers" / header
    text = spoiled.read_text()
    assert right in text
    spoiled.write_text(text.replace(right, wrong))
    done = build_and_run("kernels.c", "own", "-O0", headers=tmp_path / "headers")
    assert done.returncode == 1
    assert message in done.stderr
