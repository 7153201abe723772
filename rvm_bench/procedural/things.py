"""Rigid and hinged things: blobs, boxes and discs with details that are fixed to them, swing, or spin."""

import math

import numpy as np

from rvm_bench.procedural.body import Body, Bone, Part
from rvm_bench.procedural.figures import PART_NAMES
from rvm_bench.procedural.motion import Path
from rvm_bench.procedural.shapes import Blob, Box, Limb, Outline, Superellipse
from rvm_bench.procedural.textures import make_texture

_THING, _DETAIL = PART_NAMES.index("thing"), PART_NAMES.index("thing detail")


def make_thing(rng: np.random.Generator, *, motion: str, path: Path, radius_m: float, texture_side: int) -> Body:
    """A thing of about `radius_m` on `path`: a trunk, up to two limbs swinging behind it, one to three details."""
    skins = [make_texture(rng, side=texture_side, tile_m=3 * radius_m) for _ in range(2)]
    bones, parts = [Bone()], []

    def add(label: int, outline: Outline, bone: int, layer: float, at: tuple[float, float] = (0.0, 0.0)) -> None:
        texture_at = float(rng.uniform(0, radius_m)), float(rng.uniform(0, radius_m))
        parts.append(
            Part(
                outline=outline,
                texture=skins[label - _THING],
                label=label,
                layer_m=layer * radius_m,
                bone=bone,
                at=at,
                texture_at=texture_at,
            )
        )

    def hinge(u: float, v: float, swing: float) -> int:
        rest, cycles, phase = rng.uniform(-0.4, 0.4), rng.uniform(1.0, 2.5), rng.uniform(0, 2 * math.pi)
        # A limb points away from the middle of the thing: its outline hangs along +v.
        bones.append(
            Bone(parent=0, pivot=(u, v), rest=math.atan2(-u, v) + rest, swing=swing, cycles=cycles, phase=phase)
        )
        return len(bones) - 1

    trunk = _trunk(rng, radius_m)
    for index in range(int(rng.integers(0, 3))):
        angle = rng.uniform(0, 2 * math.pi)
        bone = hinge(0.55 * radius_m * math.cos(angle), 0.55 * radius_m * math.sin(angle), rng.uniform(0.3, 0.7))
        length = radius_m * rng.uniform(0.7, 1.0)
        limb = Limb(length=length, top=radius_m * 0.22, bottom=radius_m * rng.uniform(0.1, 0.3))
        add(_DETAIL, limb, bone, -0.02 * (index + 1), (0.0, length / 2))
    add(_THING, trunk, 0, 0.0)
    for index in range(int(rng.integers(1, 4))):
        angle, away = rng.uniform(0, 2 * math.pi), radius_m * rng.uniform(0.1, 0.45)
        bone = hinge(away * math.cos(angle), away * math.sin(angle), rng.uniform(0.0, 1.2))
        add(_DETAIL, _detail(rng, radius_m * rng.uniform(0.16, 0.3)), bone, 0.02 * (index + 1))
    return Body(motion=motion, path=path, bones=tuple(bones), parts=tuple(parts))


def _trunk(rng: np.random.Generator, radius: float) -> Outline:
    flat = rng.uniform(0.6, 0.95)
    match int(rng.integers(4)):
        case 0:
            return Superellipse(a=radius, b=radius * flat)
        case 1:
            return Superellipse(a=radius, b=radius * flat, power=4)
        case 2:
            return Box(a=radius * 0.95, b=radius * flat * 0.8, radius=radius * rng.uniform(0.05, 0.25))
        case _:
            waves = tuple(int(wave) for wave in rng.choice([2, 3, 4, 5, 6, 7], 3, replace=False))
            amounts = tuple(float(rng.uniform(0.04, 0.32) / math.sqrt(wave)) for wave in waves)
            phases = tuple(float(phase) for phase in rng.uniform(0, 2 * math.pi, 3))
            return Blob(radius=radius * 0.9, waves=waves, amounts=amounts, phases=phases)


def _detail(rng: np.random.Generator, radius: float) -> Outline:
    if rng.random() < 0.5:
        return Superellipse(a=radius, b=radius * rng.uniform(0.5, 1.0))
    return Box(a=radius, b=radius * rng.uniform(0.4, 1.0), radius=radius * 0.15)
