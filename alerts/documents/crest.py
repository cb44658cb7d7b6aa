"""Crest (emblem) above a letter, from a file of the agency, which is not trusted. Pure.

An SVG drawing may contain shapes only: no script, no text (the font is missing), no external references, no unbounded
repetition. A PNG picture has a maximum size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from xml.etree import ElementTree as ET

#: Maximum size. A coat of arms as plain shapes has some tens of thousands of octets.
MAX_OCTETS = 256 * 1024
#: Maximum number of pixels per side: four times the resolution of a printer at the printed height.
_MAX_PIXELS = 2000
#: Maximum number of elements of a drawing.
_MAX_ELEMENTS = 5000
_SVG = "http://www.w3.org/2000/svg"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHAPES = frozenset(
    {"svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "title", "desc", "metadata"}
    | {"defs", "linearGradient", "radialGradient", "stop", "clipPath", "mask", "style"}
)


class CrestFormat(StrEnum):
    """File format of a crest."""

    SVG = "svg"
    PNG = "png"


class InvalidCrestError(Exception):
    """The file cannot be printed as a crest; the message gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crest:
    """A crest for the letterhead."""

    format: CrestFormat
    octets: bytes = field(repr=False)


def read_crest(octets: bytes) -> Crest:
    """Parse a crest file. Raise `InvalidCrestError`."""
    if len(octets) > MAX_OCTETS:
        raise InvalidCrestError(f"is larger than {MAX_OCTETS // 1024} KiB")
    if octets.startswith(_PNG_SIGNATURE):
        _check_picture(octets)
        return Crest(format=CrestFormat.PNG, octets=octets)
    _check_drawing(octets)
    return Crest(format=CrestFormat.SVG, octets=octets)


def _check_picture(octets: bytes) -> None:
    # The first chunk of a PNG is IHDR: width and height, four octets each (ISO/IEC 15948, 11.2.2).
    if octets[12:16] != b"IHDR" or len(octets) < 24:
        raise InvalidCrestError("is not a complete PNG picture")
    width, height = struct.unpack(">II", octets[16:24])
    if not (0 < width <= _MAX_PIXELS and 0 < height <= _MAX_PIXELS):
        raise InvalidCrestError(f"has {width} x {height} pixels; the maximum is {_MAX_PIXELS} x {_MAX_PIXELS}")


def _check_drawing(octets: bytes) -> None:
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidCrestError("is neither a PNG picture nor an SVG drawing in UTF-8") from None
    # XML entities can expand without bound, or read another file. A drawing needs no entities.
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise InvalidCrestError("has a document type (<!DOCTYPE>); save it as plain SVG")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without a document type there are no entities
    except (ET.ParseError, ValueError):
        raise InvalidCrestError("is neither a PNG picture nor an SVG drawing") from None
    if root.tag != f"{{{_SVG}}}svg":
        raise InvalidCrestError("is XML, but not an SVG drawing")
    for number, element in enumerate(root.iter()):
        if number >= _MAX_ELEMENTS:
            raise InvalidCrestError(f"has more than {_MAX_ELEMENTS} elements; simplify it")
        _check_element(element)


def _check_element(element: ET.Element) -> None:
    namespace, _, name = element.tag[1:].partition("}")
    if namespace != _SVG:
        return  # Elements of other namespaces, such as an editor's metadata, are not drawn.
    if name not in _SHAPES:
        raise InvalidCrestError(
            f"contains <{_quotable(name)}>; save it as plain SVG with shapes only (convert text to paths)"
        )
    for attribute, value in element.attrib.items():
        if attribute.rpartition("}")[2].lower().startswith("on"):
            raise InvalidCrestError("contains a script; save it as plain SVG")
        if attribute.rpartition("}")[2] == "href" and not value.startswith("#"):
            raise InvalidCrestError("refers to another file; save it as plain SVG")
        _check_style(value)
    if name == "style":
        _check_style(element.text or "")


def _quotable(name: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in name[:40])


def _check_style(value: str) -> None:
    lowered = value.lower().replace(" ", "")
    url_targets = lowered.split("url(")[1:]
    if "@import" in lowered or any(not target.lstrip("'\"").startswith("#") for target in url_targets):
        raise InvalidCrestError("refers to another file; save it as plain SVG")
