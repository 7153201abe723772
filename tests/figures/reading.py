"""An SVG as its reader gets it."""

import re
import xml.etree.ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


def read_svg(text):
    """The root of an SVG that keeps the promises of every figure."""
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    title, desc = (element.get("id") for element in list(root)[:2])
    assert root.get("aria-labelledby") == f"{title} {desc}"
    assert [element.tag for element in list(root)[:2]] == [f"{SVG}title", f"{SVG}desc"]
    assert all(element.text for element in list(root)[:2])
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith(root.get("id")) for name in ids)
    pointed = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert pointed
    assert set(pointed) <= set(ids)
    for element in root.iter():
        for key in ("d", "x", "y", "transform", "points"):
            assert not re.search(r"nan|inf", element.get(key, ""), re.IGNORECASE)
    assert not re.search(r"\b(nan|inf)\b", " ".join(element.text or "" for element in root.iter()), re.IGNORECASE)
    return root


def words(root):
    """Every text that is written in the picture."""
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def described(root):
    return list(root)[1].text
