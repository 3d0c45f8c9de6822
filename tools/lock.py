"""Writes deploy/*.lock: the image's packages with hashes, resolved from the current pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
# The image's Python; its libc is newer than this one.
OPTIONS = (
    *("--quiet", "--upgrade", "--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28"),
    *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
)


def lock(name: str, *inputs: str, requirements: str = "") -> None:
    """Resolve the inputs into ``deploy/name``."""
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "compile", *OPTIONS, "--output-file", str(DEPLOY / name), *inputs]
    subprocess.run(command, input=requirements, text=True, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Write both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock("build.lock", "-", requirements="\n".join(project["build-system"]["requires"]))
    lock("requirements.lock", "--extra", "server", "pyproject.toml")


if __name__ == "__main__":
    main()
