"""Read the SVG of a plot, and check that it may stand in a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup


def parse(svg: Markup) -> ElementTree.Element:
    """The root element; asserts what a page needs: a title, a view box without a size, own IDs, no style sheet."""
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"width", "height"}.isdisjoint(root.attrib)
    assert len(root.get("viewBox", "").split()) == 4
    assert root[0].tag.endswith("}title")
    assert root[0].text == root.get("aria-label") != ""
    assert not list(root.iter("{http://www.w3.org/2000/svg}style"))
    assert ids(svg) == set(re.findall(r'(?:(?<=href="#)|(?<=url\(#))[^")]+', svg))
    assert "nan" not in svg.lower()
    assert not re.search("#0[1-5]0[1-5]0[1-5]", " ".join(e.get("style", "") for e in root.iter()))
    return root


def ids(svg: Markup) -> set[str]:
    """All IDs, each of which must be unique."""
    found = re.findall(r'\bid="([^"]+)"', svg)
    assert len(found) == len(set(found))
    return set(found)


def texts(svg: Markup) -> list[str]:
    """The texts that the plot shows."""
    return ["".join(element.itertext()) for element in parse(svg).iter("{http://www.w3.org/2000/svg}text")]
