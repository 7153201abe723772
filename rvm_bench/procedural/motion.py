"""Smooth rigid motion in closed form, and the named motion classes a body can follow."""

from dataclasses import dataclass

import numpy as np

CHANNELS = ("x", "y", "z", "pitch", "yaw", "roll", "log_scale")
X, Y, Z, PITCH, YAW, ROLL, LOG_SCALE = range(len(CHANNELS))

MOTIONS = (
    "left",
    "right",
    "up",
    "down",
    "approach",
    "recede",
    "clockwise",
    "counterclockwise",
    "grow",
    "shrink",
    "turn",
    "wander",
    "leave-return",
    "still",
)
"""Every motion class. All but the last four are a constant drift in one channel, so that opposite classes
(left/right, up/down, approach/recede, clockwise/counterclockwise, grow/shrink) differ in their direction only."""

STANDING_MOTIONS = ("left", "right", "approach", "recede", "turn", "wander", "leave-return", "still")
"""The classes that keep a body's feet on the ground."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """A trajectory of seven channels (`CHANNELS`): metres for x, y, z, radians for the angles, a natural logarithm for
    the scale.

    At tau in [0, 1] a channel is `middle + drift * (tau - 0.5) + sway * sin(2 pi cycles tau + phase)`.
    All five fields are float64 [7].
    """

    middle: np.ndarray
    drift: np.ndarray
    sway: np.ndarray
    cycles: np.ndarray
    phase: np.ndarray

    def state(self, tau: float) -> np.ndarray:
        """The seven channels at `tau`, float64 [7]."""
        swing = self.sway * np.sin(2 * np.pi * self.cycles * tau + self.phase)
        return self.middle + self.drift * (tau - 0.5) + swing

    def pose(self, tau: float) -> np.ndarray:
        """Own axes to world at `tau`, float64 [3, 4]: the rotation times the scale, and the position in metres."""
        state = self.state(tau)
        axes = rotation(state[PITCH], state[YAW], state[ROLL]) * np.exp(state[LOG_SCALE])
        return np.hstack([axes, state[:3, None]])

    def plane(self, tau: float) -> np.ndarray:
        """The plane across a body at `tau`: float64 [3, 3] taking (u, v, 1), in its own metres, to a world point."""
        return self.pose(tau)[:, [0, 1, 3]]


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Ry(yaw) Rx(pitch) Rz(roll), float64 [3, 3]. As y points down, a positive roll is clockwise on the screen."""
    (sp, sy, sr), (cp, cy, cr) = np.sin([pitch, yaw, roll]), np.cos([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def camera_path(rng: np.random.Generator, amount: float) -> Path:
    """A hand-held camera around the world's origin; still at `amount` 0, moving some 0.4 m and 3 degrees at 1."""
    drift, sway = np.zeros(7), np.zeros(7)
    drift[:3] = rng.uniform(-0.5, 0.5, 3) * (1.0, 0.2, 0.8)
    sway[:3] = rng.uniform(0.02, 0.12, 3) * (1.0, 0.5, 1.0)
    drift[PITCH:LOG_SCALE] = rng.uniform(-0.05, 0.05, 3) * (0.4, 1.0, 0.8)
    sway[PITCH:LOG_SCALE] = rng.uniform(0.002, 0.012, 3)
    cycles, phase = rng.uniform(0.4, 1.6, 7), rng.uniform(0, 2 * np.pi, 7)
    return Path(middle=np.zeros(7), drift=drift * amount, sway=sway * amount, cycles=cycles, phase=phase)


def body_path(
    rng: np.random.Generator,
    motion: str,
    *,
    start: np.ndarray,
    half_view: np.ndarray,
    travel: float,
    standing: bool,
) -> Path:
    """The path of class `motion`, one of `MOTIONS`.

    `start` is the world point (x, y, z) of the middle of the path, `half_view` half the width and height in metres of
    what the camera sees there, and `travel` the share of the view's width (or height) crossed in the whole clip.
    A `standing` body neither leaves its height nor rolls, other than in the classes that are made of that.
    """
    middle, drift, sway = np.zeros(7), np.zeros(7), np.zeros(7)
    cycles, phase = rng.uniform(0.6, 1.4, 7), rng.uniform(0, 2 * np.pi, 7)
    middle[:3] = start
    middle[YAW] = rng.uniform(-0.35, 0.35)
    sway[YAW] = rng.uniform(0.1, 0.35)
    if not standing:
        middle[ROLL] = rng.uniform(-0.4, 0.4)
        sway[ROLL] = rng.uniform(0.0, 0.12)
        sway[PITCH] = rng.uniform(0.05, 0.2)
    spin, growth, side = rng.uniform(2.5, 4.0), rng.uniform(0.6, 0.9), rng.choice([-1.0, 1.0])
    match motion:
        case "left" | "right":
            drift[X] = travel * 2 * half_view[0] * (1 if motion == "right" else -1)
            sway[Y] = 0.0 if standing else rng.uniform(0.0, 0.08) * half_view[1]
        case "up" | "down":
            drift[Y] = travel * 1.6 * half_view[1] * (1 if motion == "down" else -1)
            sway[X] = rng.uniform(0.0, 0.08) * half_view[0]
        case "approach" | "recede":
            drift[Z] = min(travel, 0.8) * start[2] * (1 if motion == "recede" else -1)
        case "clockwise" | "counterclockwise":
            drift[ROLL] = spin * (1 if motion == "clockwise" else -1)
            sway[ROLL] = 0.0
        case "grow" | "shrink":
            drift[LOG_SCALE] = growth * (1 if motion == "grow" else -1)
        case "turn":
            sway[YAW], cycles[YAW], middle[YAW] = 1.0, rng.uniform(0.7, 1.3), 0.0
        case "wander":
            sway[X] = travel * 0.6 * half_view[0]
            sway[Z] = 0.12 * start[2]
            sway[LOG_SCALE] = 0.1
            if not standing:
                sway[Y] = travel * 0.4 * half_view[1]
                sway[ROLL] = rng.uniform(0.3, 0.8)
        case "leave-return":
            sway[X], cycles[X], phase[X] = side * 2.2 * half_view[0], 0.5, 0.0
        case "still":
            sway[:] = 0.0
        case _:
            raise ValueError(f"{motion!r} is not one of the motions {MOTIONS}")
    if standing:
        sway[LOG_SCALE] = 0.0
    return Path(middle=middle, drift=drift, sway=sway, cycles=cycles, phase=phase)
