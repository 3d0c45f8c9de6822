"""The documentation's site: `make docs`. Sphinx, strict: a dead link or an undocumented public name fails."""

from __future__ import annotations

from importlib.metadata import version as version_of
from types import GetSetDescriptorType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger("fastcall.docs")

project = "fastcall"
author = "the fastcall developers"
release = version_of("fastcall")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "fastcall"
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
# Of shell lines, the prompt is not copied.
copybutton_prompt_text = "$ "

# Signatures stand as they are in the source: shorter than their resolved types.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True}


def _is_documented(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:  # noqa: PLR0917 - Sphinx's
    # Fields of the core's classes cannot have one of their own: the class's says what they are.
    if not isinstance(thing, GetSetDescriptorType) and not any(line.strip() for line in lines):
        log.warning("%s %s is public and has no docstring", what, name)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _is_documented)
