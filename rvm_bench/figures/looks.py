"""How a model is drawn: one colour and one mark per family, the same in every figure.

Families that share a colour (there are more families than colours that everyone can tell apart) have different marks,
and so has everything in greyscale. Lines of one colour in one figure differ in their dashes.
"""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rvm_bench.media.drawing import colour_of

INK = "#000000"
"""Okabe and Ito's black, for floors: what any model must beat."""

_LOOKS: dict[str, tuple[int | None, str]] = {
    "rvm": (4, "o"),
    "dinov2": (5, "s"),
    "dino": (1, "D"),
    "videomae": (2, "^"),
    "videomaev2": (2, "v"),
    "vjepa": (0, "P"),
    "4ds": (3, "X"),
    "mae": (6, "*"),
    "pixels": (None, "x"),
    "random-vit": (None, "+"),
}
"""By family: number of the colour in `drawing.PALETTE` (None: black), and matplotlib's mark."""

_ALIASES = {"siammae": "mae", "cropmae": "mae", "randomvit": "random-vit"}
_MARKS = ("h", "d", "p", "<", ">")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colour as #rrggbb, mark and dashes as matplotlib takes them."""

    colour: str
    mark: str
    dash: str | tuple[int, tuple[int, ...]] = "-"


def family_of(model: str, family: str = "") -> str:
    """The family by which a model is drawn.

    Args:
        model: its name, of a card ("rvm-s", "random-vit-s") or as the paper prints it ("V-JEPA-L").
        family: of its card; "" where there is none. The name goes first: a floor may be built like a family's members.
    """
    plain = re.sub(r"[^a-z0-9]", "", model.lower())
    known = {name.replace("-", ""): name for name in _LOOKS} | _ALIASES
    starts = sorted((name for name in known if plain.startswith(name)), key=len)
    return known[starts[-1]] if starts else family or model


def look_of(model: str, family: str = "") -> Look:
    """How a model is drawn; the look of a family unknown to us follows from its name alone."""
    name = family_of(model, family)
    if name in _LOOKS:
        number, mark = _LOOKS[name]
    else:
        choice = zlib.crc32(name.encode())
        number, mark = choice % 7, _MARKS[choice // 7 % len(_MARKS)]
    return Look(colour=INK if number is None else "#{:02x}{:02x}{:02x}".format(*colour_of(number)), mark=mark)


def looks_of(models: Iterable[tuple[str, str]]) -> list[Look]:
    """How several (model, family) are drawn in one figure of lines: those of one colour get dashes in their order."""
    seen: dict[str, int] = {}
    found = []
    for model, family in models:
        look = look_of(model, family)
        nth = seen[look.colour] = seen.get(look.colour, -1) + 1
        found.append(replace(look, dash=DASHES[nth % len(DASHES)]))
    return found
