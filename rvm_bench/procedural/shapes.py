"""Analytic outlines of flat surfaces, in the surface's own coordinates.

An outline's `distance(u, v)` takes float arrays in metres that broadcast together and returns metres, negative inside.
Its zero set is exactly the outline, so masks are exact; away from it the value is only near to the Euclidean distance,
which is enough for smooth edges and rounded shading. `contour(n)` is [about n, 2], points on the outline in order, and
`reach` is (u, v), half the sides of a box around the origin that holds it.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Outline(Protocol):
    """A closed curve around the origin of a surface's plane."""

    @property
    def reach(self) -> tuple[float, float]: ...

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray: ...

    def contour(self, n: int) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Superellipse:
    """|u / a|^n + |v / b|^n = 1: an ellipse at n = 2, near a rounded rectangle at n = 6. `power` must be even."""

    a: float
    b: float
    power: int = 2

    @property
    def reach(self) -> tuple[float, float]:
        return self.a, self.b

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, v = u * (1 / self.a), v * (1 / self.b)
        u, v = u * u, v * v
        if self.power == 2:
            radius = np.sqrt(u + v)
        else:
            radius = (u ** (self.power // 2) + v ** (self.power // 2)) ** (1 / self.power)
        return (radius - 1) * min(self.a, self.b)

    def contour(self, n: int) -> np.ndarray:
        angle = np.arange(n) * (2 * np.pi / n)
        ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        radius = (np.abs(ray[:, 0]) ** self.power + np.abs(ray[:, 1]) ** self.power) ** (-1 / self.power)
        return ray * radius[:, None] * (self.a, self.b)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of half sides `a` and `b` whose corners are rounded with `radius` (0 keeps them square)."""

    a: float
    b: float
    radius: float = 0.0

    @property
    def reach(self) -> tuple[float, float]:
        return self.a, self.b

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, v = np.abs(u) - (self.a - self.radius), np.abs(v) - (self.b - self.radius)
        corner_u, corner_v = np.maximum(u, 0), np.maximum(v, 0)
        return np.sqrt(corner_u * corner_u + corner_v * corner_v) + np.minimum(np.maximum(u, v), 0) - self.radius

    def contour(self, n: int) -> np.ndarray:
        quarter = -(-n // 4)
        angle = np.linspace(0, np.pi / 2, quarter)
        arc = self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        corner = np.array([self.a - self.radius, self.b - self.radius])
        first = corner + arc
        second = (corner + arc[::-1]) * (-1, 1)
        return np.concatenate([first, second, -first, -second])


@dataclass(frozen=True, kw_only=True)
class Limb:
    """A tapered capsule: the hull of two circles, of radius `top` at (0, -length / 2) and `bottom` at (0, length / 2).

    Neither circle may hold the other: `length` is more than the difference of the radii.
    """

    length: float
    top: float
    bottom: float

    @property
    def reach(self) -> tuple[float, float]:
        return max(self.top, self.bottom), self.length / 2 + max(self.top, self.bottom)

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        sine = (self.top - self.bottom) / self.length
        cosine = math.sqrt(1 - sine * sine)
        u, v = np.abs(u), v + self.length / 2
        along = cosine * v - sine * u
        beyond = v - self.length
        return np.where(
            along < 0,
            np.sqrt(u * u + v * v) - self.top,
            np.where(
                along > cosine * self.length,
                np.sqrt(u * u + beyond * beyond) - self.bottom,
                cosine * u + sine * v - self.top,
            ),
        )

    def contour(self, n: int) -> np.ndarray:
        tilt = math.asin((self.top - self.bottom) / self.length)
        half = n // 2
        lower = np.linspace(tilt, np.pi - tilt, half)
        upper = np.linspace(np.pi - tilt, 2 * np.pi + tilt, n - half)
        circle = np.concatenate([np.full(half, self.bottom), np.full(n - half, self.top)])
        centre = np.concatenate([np.full(half, self.length / 2), np.full(n - half, -self.length / 2)])
        angle = np.concatenate([lower, upper])
        return np.stack([circle * np.cos(angle), centre + circle * np.sin(angle)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A star-shaped curve of radius `radius * (1 + sum_k amounts[k] cos(waves[k] angle + phases[k]))`."""

    radius: float
    waves: tuple[int, ...]
    amounts: tuple[float, ...]
    phases: tuple[float, ...]

    @property
    def reach(self) -> tuple[float, float]:
        furthest = self.radius * (1 + sum(abs(amount) for amount in self.amounts))
        return furthest, furthest

    def _edge(self, angle: np.ndarray) -> np.ndarray:
        edge = np.ones_like(angle)
        for wave, amount, phase in zip(self.waves, self.amounts, self.phases, strict=True):
            edge += amount * np.cos(wave * angle + phase)
        return edge * self.radius

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.sqrt(u * u + v * v) - self._edge(np.arctan2(v, u))

    def contour(self, n: int) -> np.ndarray:
        angle = np.arange(n) * (2 * np.pi / n)
        return self._edge(angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
