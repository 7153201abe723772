"""Writes demo clips in the official layout of JHMDB, as the released RVM evaluation reads it.

    splits/<action>_test_split1.txt                         lines "<clip>.avi 2" (test) or "<clip>.avi 1" (train)
    joint_positions/<action>/<clip>/joint_positions.mat     pos_img float64 [2, 15, T]: (x, y) in pixels
    Rename_Images/<action>/<clip>/00001.png                 RGB, 240 x 320

`pos_img` counts pixels from 1 as MATLAB does: the centre of the top left pixel is (1, 1), which is (0.5, 0.5) in a
scene. Source of the layout: Jhuang et al., ICCV 2013, and the released evaluation notebook of RVM.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from rvm_bench.errors import UserError
from rvm_bench.procedural.layout import SceneConfig, make_scene
from rvm_bench.procedural.scene import Scene

HEIGHT_PX, WIDTH_PX = 240, 320

MARGIN_PX = 8.0
"""How far inside the image every joint of the first frame lies, at least."""

_TRIES = 300


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip: its action and name, its length, and what its scene is drawn from."""

    action: str
    name: str
    frames: int
    scene: SceneConfig


def _scene(motion: str, *, things: int = 0, travel: float = 0.4) -> SceneConfig:
    return SceneConfig(
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        things=things,
        figures=1,
        motions=(motion,),
        travel=travel,
        strides=2.0,
        depths_m=(3.4, 4.6),
    )


CLIPS = (
    Clip(action="demo_cross", name="demo_cross_left", frames=32, scene=_scene("left", things=1)),
    Clip(action="demo_cross", name="demo_cross_right", frames=28, scene=_scene("right")),
    Clip(action="demo_depth", name="demo_depth_approach", frames=25, scene=_scene("approach", travel=0.45)),
    Clip(action="demo_roam", name="demo_roam_wander", frames=26, scene=_scene("wander", things=1)),
)


def write(
    folder: Path,
    *,
    seed: int = 0,
    clips: tuple[Clip, ...] = CLIPS,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `clips` under `folder`; the defaults take some 3 s and 15 MB.

    Every action's split file also names one train clip, of which nothing else is written. The files are the same bytes
    for the same arguments and library versions. After each frame, `progress` is called with the clip's name and the
    number of its frames written so far.

    Raises UserError where the folder already has splits, so that no real copy is ever overwritten.
    """
    from scipy.io import savemat

    splits = folder / "splits"
    if splits.exists():
        raise UserError(f"{splits} exists; name an empty folder for the demo copy, or remove that one")
    for number, clip in enumerate(clips):
        scene = clear_scene((seed, number), replace(clip.scene, frames=clip.frames))
        images = folder / "Rename_Images" / clip.action / clip.name
        poses = folder / "joint_positions" / clip.action / clip.name
        images.mkdir(parents=True, exist_ok=True)
        poses.mkdir(parents=True, exist_ok=True)
        joints_T152 = np.stack([scene.joints(t)[0][0] for t in range(clip.frames)])
        _save(savemat, poses / "joint_positions.mat", joints_T152.transpose(2, 1, 0) - 0.5 + 1)
        for t in range(clip.frames):
            Image.fromarray(scene.render(t).rgb).save(images / f"{t + 1:05d}.png")
            if progress is not None:
                progress(clip.name, t + 1)
    splits.mkdir(parents=True)
    for action in dict.fromkeys(clip.action for clip in clips):
        tests = "".join(f"{clip.name}.avi 2\n" for clip in clips if clip.action == action)
        (splits / f"{action}_test_split1.txt").write_text(f"{tests}{action}_train.avi 1\n")


def clear_scene(seed: tuple[int, ...], config: SceneConfig) -> Scene:
    """The first scene drawn whose one figure starts in plain sight, and moves without leaving the image.

    In the first frame every joint lies in the image by `MARGIN_PX` (for 240 rows) and at most two are hidden; later at
    least 13 stay in the image; and on average the joints move by an eighth of the figure's size.

    Raises UserError where no such scene is found.
    """
    height, width = config.height_px, config.width_px
    margin = MARGIN_PX * height / HEIGHT_PX
    for attempt in range(_TRIES):
        # Not seed + attempt: neighbouring seeds would then end in the same scene.
        scene = make_scene(int(np.random.SeedSequence([*seed, attempt]).generate_state(1)[0]), config)
        first_152, visible = (row[0] for row in scene.joints(0))
        edge = np.minimum(first_152, (width, height) - first_152).min()
        size = np.linalg.norm(np.ptp(first_152, axis=0))
        if edge < margin or visible.sum() < 13 or size < 0.5 * height:
            continue
        later_T152 = np.stack([scene.joints(t)[0][0] for t in range(1, config.frames)])
        inside = ((later_T152 >= 0) & (later_T152 < (width, height))).all(axis=-1).sum(axis=1)
        if (inside >= 13).all() and np.linalg.norm(later_T152 - first_152, axis=-1).mean() > size / 8:
            return scene
    raise UserError(f"no clear scene in {_TRIES} tries with seed {seed} of {config}; try another seed or less travel")


def _save(savemat: Callable[..., None], file: Path, pos_img: np.ndarray) -> None:
    """A MATLAB file without the date that scipy writes into its header: the same bytes every time."""
    savemat(file, {"pos_img": pos_img}, do_compression=True)
    content = file.read_bytes()
    file.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content[116:])
