"""Articulated human figures: a skeleton with exact joints, a gait, and a wardrobe of labelled parts."""

import math

import numpy as np

from rvm_bench.procedural.body import Body, Bone, Part
from rvm_bench.procedural.motion import Path
from rvm_bench.procedural.shapes import Box, Limb, Outline, Superellipse
from rvm_bench.procedural.textures import Texture, make_texture, random_palette

JOINTS = (
    "neck",
    "belly",
    "head",
    "right shoulder",
    "left shoulder",
    "right hip",
    "left hip",
    "right elbow",
    "left elbow",
    "right knee",
    "left knee",
    "right wrist",
    "left wrist",
    "right ankle",
    "left ankle",
)
"""The joints of every figure, in the order of JHMDB's `pos_img` (Jhuang et al. 2013; mmpose's jhmdb.py lists it).
Left and right are the figure's own: a figure that faces the camera has its right on the left of the image."""

PART_NAMES = (
    "background",
    "hat",
    "hair",
    "glove",
    "sunglasses",
    "upper clothes",
    "dress",
    "coat",
    "socks",
    "trousers",
    "torso skin",
    "scarf",
    "skirt",
    "face",
    "left arm",
    "right arm",
    "left leg",
    "right leg",
    "left shoe",
    "right shoe",
    "thing",
    "thing detail",
)
"""Part ids: 1 to 19 are the classes of VIP in its own order (ATEN, Zhou et al. 2018), the last two those of a thing."""

GAITS = ("walk", "walk", "jacks", "wave")
"""What a figure's gait is drawn from: walking is twice as likely as jumping jacks, and as waving with one arm."""

FIGURE_HEIGHT_M = 1.7
HIP_TO_SOLE = 0.50
"""In body heights, as is every length below; the origin of a figure's plane is between its hips."""

_LABEL = {name: index for index, name in enumerate(PART_NAMES)}
_TRUNK, _HEAD, _ARMS, _FOREARMS, _THIGHS, _SHINS, _FEET = 0, 1, (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)
_NECK, _SHOULDER, _HIP = (0.0, -0.30), (0.095, -0.27), (0.05, 0.01)
_ARM, _FOREARM, _THIGH, _SHIN = 0.155, 0.14, 0.235, 0.225
_SIDES = ((0, "right", -1), (1, "left", 1))


def make_figure(
    rng: np.random.Generator,
    *,
    motion: str,
    path: Path,
    strides: float,
    texture_side: int,
    gaits: tuple[str, ...] = GAITS,
) -> Body:
    """A clothed figure `FIGURE_HEIGHT_M` tall on `path`; it goes through `strides` cycles of its gait in the clip."""
    bones = _gait(rng, strides, gaits, facing=-1 if motion == "left" else 1)
    height = FIGURE_HEIGHT_M
    joints = [(_TRUNK, 0.0, -0.28), (_TRUNK, 0.0, -0.08), (_HEAD, 0.0, -0.09)]
    pairs = ((_ARMS, 0.0), (_THIGHS, 0.0), (_FOREARMS, 0.0), (_SHINS, 0.0), (_FOREARMS, _FOREARM), (_SHINS, _SHIN))
    joints += [(bones_of[side], 0.0, down) for bones_of, down in pairs for side in (0, 1)]
    return Body(
        motion=motion,
        path=path,
        bones=tuple(_scaled(bone, height) for bone in bones),
        parts=tuple(_dress(rng, texture_side)),
        joints=tuple((bone, u * height, v * height) for bone, u, v in joints),
    )


def _scaled(bone: Bone, height: float) -> Bone:
    pivot = bone.pivot[0] * height, bone.pivot[1] * height
    return Bone(parent=bone.parent, pivot=pivot, rest=bone.rest, swing=bone.swing, cycles=bone.cycles, phase=bone.phase)


def _gait(rng: np.random.Generator, strides: float, gaits: tuple[str, ...], facing: int) -> list[Bone]:
    """The skeleton and its swings, of one of the `gaits`."""
    gait = str(rng.choice(gaits))
    phase, vigour = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.2)
    # Rest angle and swing of each pair of limbs; spread limbs mirror each other, walking ones are half a cycle apart.
    arms, forearms, thighs, shins = {
        "walk": ((0.12, 0.55), (0.0, 0.25), (0.04, 0.45), (0.0, 0.3)),
        "jacks": ((1.3, 0.95), (0.25, 0.25), (0.25, 0.22), (0.0, 0.05)),
        "wave": ((0.35, 0.2), (0.3, 0.25), (0.1, 0.08), (0.0, 0.04)),
    }[gait]
    mirrored = gait != "walk"
    waving = int(rng.integers(2))

    def limb(parent: int, pivot: tuple[float, float], side: int, angles: tuple[float, float], lag: float) -> Bone:
        sign = -1 if side else 1
        rest, swing = sign * angles[0], angles[1] * vigour * (sign if mirrored else 1)
        shift = 0.0 if mirrored else side * math.pi
        return Bone(parent=parent, pivot=pivot, rest=rest, swing=swing, cycles=strides, phase=phase + lag + shift)

    bones = [
        Bone(swing=0.05 * vigour, cycles=strides, phase=phase),
        Bone(parent=_TRUNK, pivot=_NECK, swing=0.12, cycles=strides * 0.5, phase=phase),
    ]
    bones += [limb(_TRUNK, (sign * _SHOULDER[0], _SHOULDER[1]), k, arms, math.pi) for k, _, sign in _SIDES]
    bones += [limb(_ARMS[k], (0.0, _ARM), k, forearms, math.pi - 0.6) for k, _, _ in _SIDES]
    if gait == "wave":
        sign = -1 if waving else 1
        bones[_ARMS[waving]] = Bone(
            parent=_TRUNK, pivot=bones[_ARMS[waving]].pivot, rest=2.1 * sign, swing=0.3, cycles=strides, phase=phase
        )
        bones[_FOREARMS[waving]] = Bone(
            parent=_ARMS[waving], pivot=(0.0, _ARM), rest=0.7 * sign, swing=0.6, cycles=strides * 2, phase=phase
        )
    bones += [limb(_TRUNK, (sign * _HIP[0], _HIP[1]), k, thighs, 0.0) for k, _, sign in _SIDES]
    bones += [limb(_THIGHS[k], (0.0, _THIGH), k, shins, -0.9) for k, _, _ in _SIDES]
    for k, _, sign in _SIDES:
        outward = facing if gait == "walk" else sign
        bones.append(Bone(parent=_SHINS[k], pivot=(0.0, _SHIN), rest=-1.35 * outward))
    return bones


def _dress(rng: np.random.Generator, texture_side: int) -> list[Part]:
    """The parts, back to front. What is worn is drawn; every VIP class can occur."""
    outfit = str(rng.choice(["trousers", "trousers", "coat", "dress", "skirt"]))
    hat, glasses, scarf, gloves, socks = rng.random(5) < (0.5, 0.4, 0.35, 0.3, 0.5)
    long_sleeves = outfit == "coat" or rng.random() < 0.6

    def cloth(palette: np.ndarray | None = None, pattern: str | None = None, contrast: float = 0.35) -> Texture:
        return make_texture(rng, side=texture_side, tile_m=0.9, palette=palette, pattern=pattern, contrast=contrast)

    skin_tone = np.array([1.0, rng.uniform(0.68, 0.8), rng.uniform(0.5, 0.62)]) * rng.uniform(0.4, 0.95)
    hair_tone = np.array([1.0, rng.uniform(0.55, 0.85), rng.uniform(0.2, 0.7)]) * rng.uniform(0.15, 0.7)
    shades = np.array([0.75, 1.0, 0.85, 1.1])[:, None]
    skin, hair = cloth(skin_tone * shades, "marble"), cloth(hair_tone * shades, "stripes", 0.5)
    top, bottom, shoe, extra = cloth(), cloth(), cloth(random_palette(rng) * 0.6), cloth()
    top_label = {"coat": "coat", "dress": "dress"}.get(outfit, "upper clothes")
    parts: list[Part] = []

    def add(label: str, texture: Texture, outline: Outline, bone: int, at: tuple[float, float]) -> None:
        scaled = at[0] * FIGURE_HEIGHT_M, at[1] * FIGURE_HEIGHT_M
        texture_at = float(rng.uniform(0, 0.9)), float(rng.uniform(0, 0.9))
        layer = 0.006 * (len(parts) - 12)
        parts.append(
            Part(
                outline=outline,
                texture=texture,
                label=_LABEL[label],
                layer_m=layer,
                bone=bone,
                at=scaled,
                texture_at=texture_at,
            )
        )

    def limb(length: float, top_radius: float, bottom_radius: float) -> Limb:
        return Limb(
            length=length * FIGURE_HEIGHT_M, top=top_radius * FIGURE_HEIGHT_M, bottom=bottom_radius * FIGURE_HEIGHT_M
        )

    def band(a: float, b: float) -> Box:
        return Box(a=a * FIGURE_HEIGHT_M, b=b * FIGURE_HEIGHT_M, radius=0.7 * b * FIGURE_HEIGHT_M)

    def oval(a: float, b: float, power: int = 2) -> Superellipse:
        return Superellipse(a=a * FIGURE_HEIGHT_M, b=b * FIGURE_HEIGHT_M, power=power)

    def arm(side: int, name: str) -> None:
        sleeve = (top_label, top) if long_sleeves else (f"{name} arm", skin)
        add(*sleeve, limb(_FOREARM, 0.030, 0.022), _FOREARMS[side], (0.0, _FOREARM / 2))
        hand = ("glove", extra) if gloves else (f"{name} arm", skin)
        add(*hand, oval(0.024, 0.032), _FOREARMS[side], (0.0, _FOREARM + 0.015))
        add(top_label, top, limb(_ARM, 0.040, 0.031), _ARMS[side], (0.0, _ARM / 2))

    arm(1, "left")
    add("hair", hair, oval(0.068, 0.085), _HEAD, (0.0, -0.085))
    for side, name, _ in reversed(_SIDES):
        covered = ("trousers", bottom) if outfit in ("trousers", "coat") else (f"{name} leg", skin)
        add(f"{name} shoe", shoe, limb(0.07, 0.026, 0.020), _FEET[side], (0.0, 0.03))
        add(*covered, limb(_SHIN, 0.043, 0.028), _SHINS[side], (0.0, _SHIN / 2))
        if socks and covered[0] != "trousers":
            add("socks", extra, limb(0.09, 0.037, 0.030), _SHINS[side], (0.0, _SHIN - 0.05))
        add(*covered, limb(_THIGH, 0.062, 0.045), _THIGHS[side], (0.0, _THIGH / 2))
    if outfit in ("dress", "skirt"):
        add(outfit, top if outfit == "dress" else bottom, limb(0.15, 0.085, 0.125), _TRUNK, (0.0, 0.06))
    else:
        add("trousers", bottom, oval(0.092, 0.062, 4), _TRUNK, (0.0, 0.0))
    add("torso skin", skin, limb(0.07, 0.032, 0.038), _TRUNK, (0.0, -0.30))
    add(top_label, top, limb(0.20, 0.098, 0.082), _TRUNK, (0.0, -0.19))
    if outfit == "coat":
        add("coat", top, limb(0.14, 0.085, 0.105), _TRUNK, (0.0, -0.02))
    if scarf:
        add("scarf", extra, band(0.055, 0.026), _TRUNK, (0.0, -0.285))
    add("face", skin, oval(0.055, 0.073), _HEAD, (0.0, -0.075))
    add("hair", hair, oval(0.060, 0.030), _HEAD, (0.0, -0.138))
    if glasses:
        add("sunglasses", shoe, band(0.046, 0.013), _HEAD, (0.0, -0.09))
    if hat:
        add("hat", extra, oval(0.070, 0.045, 4), _HEAD, (0.0, -0.155))
    arm(0, "right")
    return parts
