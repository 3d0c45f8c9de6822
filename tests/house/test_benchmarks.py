"""What benchmarks/README.md shows was made by `make bench-table`, of the gates that there are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from house import ROOT

HERE = ROOT / "benchmarks"
README = (HERE / "README.md").read_text(encoding="utf-8")
FIGURES = README.split("<!-- figures: make bench-table -->")[1].split("<!-- end of figures -->")[0]
PLOTS = re.findall(r"\((plots/\w+\.svg)\)", README)


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in FIGURES.splitlines() if line[:2] == "| "]


def test_the_table_names_machine_and_date():
    assert re.search(r"; Python 3\.\d+\.\d+ \(.*\); .*; \d{4}-\d\d-\d\d\.$", FIGURES, re.MULTILINE)


def test_no_ratio_is_below_its_floor():
    found = [(row[0], float(row[3]), float(row[4])) for row in rows() if re.fullmatch(r"[\d.]+", row[-1])]
    assert len(found) >= 10
    assert [row for row in found if row[1] < row[2]] == []


@pytest.mark.parametrize("law", ["mu-law", "A-law"])
def test_the_gates_of_the_codec_are_shown(law):
    names = {row[0] for row in rows()}
    assert {f"{law} decode, 1 Mi samples", f"{law} encode, 1 Mi samples"} <= names


def test_the_gate_of_the_fast_path_is_shown():
    (row,) = (row for row in rows() if row[0].startswith("whole server with the fast path"))
    assert float(row[4]) == round(1 / 0.45, 2)


def test_plots_are_pictures_with_a_curve_for_each_name():
    assert len(PLOTS) == 3
    for plot in PLOTS:
        root = ElementTree.fromstring((HERE / plot).read_text(encoding="utf-8"))
        curves = root.findall(".//{http://www.w3.org/2000/svg}polyline")
        assert len(curves) >= 2
        assert all(len(curve.attrib["points"].split()) > 5 for curve in curves)
