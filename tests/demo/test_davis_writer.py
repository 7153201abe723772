"""The demo copy has the official DAVIS-2017 layout, and is a fair little benchmark."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rvm_bench.demo.davis import MIN_AREA, SEQUENCES, fair_scene, write
from rvm_bench.errors import UserError
from rvm_bench.media.images import voc_palette
from rvm_bench.procedural.render import silhouette

FRAMES = 5


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "DAVIS"
    calls = []
    write(folder, frames=FRAMES, progress=lambda name, done: calls.append((name, done)))
    assert calls == [(sequence.name, done + 1) for sequence in SEQUENCES for done in range(FRAMES)]
    return folder


def masks(folder, name):
    """(size, mode, format, palette or None, pixels) of every annotation."""
    return [opened(path) for path in sorted((folder / "Annotations/480p" / name).iterdir())]


def opened(path):
    with Image.open(path) as image:
        palette = None if image.getpalette() is None else np.array(image.getpalette()).reshape(-1, 3)
        return image.size, image.mode, image.format, palette, np.array(image)


def test_val_lists_every_sequence_and_nothing_else_is_written(copy):
    names = (copy / "ImageSets/2017/val.txt").read_text().splitlines()
    assert names == [sequence.name for sequence in SEQUENCES]
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    stems = [f"480p/{name}/{t:05d}" for name in names for t in range(FRAMES)]
    expected = {f"JPEGImages/{stem}.jpg" for stem in stems} | {f"Annotations/{stem}.png" for stem in stems}
    assert files == expected | {"ImageSets/2017/val.txt"}


def test_images_are_rgb_and_annotations_palette_indices_at_480p(copy):
    for sequence in SEQUENCES:
        for path in (copy / "JPEGImages/480p" / sequence.name).iterdir():
            assert opened(path)[:3] == ((854, 480), "RGB", "JPEG")
        for *kind, palette, _ in masks(copy, sequence.name):
            assert kind == [(854, 480), "P", "PNG"]
            np.testing.assert_array_equal(palette, voc_palette()[: len(palette)])


def test_the_palette_is_that_of_pascal_voc():
    np.testing.assert_array_equal(
        voc_palette()[[0, 1, 2, 3, 8, 255]],
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [224, 224, 192]],
    )


def test_every_object_starts_in_plain_sight_and_moves(copy):
    for sequence in SEQUENCES:
        indices = [mask[-1] for mask in masks(copy, sequence.name)]
        objects = sequence.scene.things + sequence.scene.figures
        assert set(np.unique(indices)) == set(range(objects + 1))
        areas = np.bincount(indices[0].ravel(), minlength=objects + 1)[1:] / indices[0].size
        assert (areas > 0.9 * MIN_AREA).all(), sequence.name
        moved = 0.0
        for body in range(1, objects + 1):
            centres = [np.argwhere(index == body).mean(axis=0) for index in (indices[0], indices[-1])]
            moved = max(moved, float(np.abs(centres[1] - centres[0]).max()))
        assert moved > 64, "four patches of 16 pixels"


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_any_seed_starts_in_plain_sight_and_hides_something_later(sequence):
    config = replace(sequence.scene, height_px=160, width_px=288, frames=7)
    for seed in range(3):
        scene = fair_scene((seed,), config)
        shown, areas = np.zeros((7, len(scene.bodies))), np.zeros((7, len(scene.bodies)))
        for t in range(7):
            instances = scene.render(t).instances
            for body in range(len(scene.bodies)):
                areas[t, body] = (instances == body + 1).mean()
                shown[t, body] = (instances == body + 1).sum() / max(silhouette(scene.view(t), body + 1).sum(), 1)
        assert areas[0].min() > 0.7 * MIN_AREA
        assert shown[0].min() > 0.7
        assert areas[-1].min() > 0.3 * MIN_AREA
        assert shown.min() < 0.75


def test_a_scene_that_cannot_be_fair_is_told():
    lonely = replace(SEQUENCES[0].scene, things=1, posts=0, height_px=128, width_px=128, motions=("still",))
    with pytest.raises(UserError, match="no fair scene in 300 tries"):
        fair_scene((0,), lonely)


def test_masks_fit_the_images(copy):
    """Colours change across the outline of a mask more than they do elsewhere."""
    for sequence in SEQUENCES:
        image = opened(copy / "JPEGImages/480p" / sequence.name / "00000.jpg")[-1].astype(int)
        index = masks(copy, sequence.name)[0][-1]
        change = np.abs(np.diff(image, axis=1)).sum(axis=2)
        outline = np.diff(index.astype(int), axis=1) != 0
        assert change[outline].mean() > 2 * change[~outline].mean()


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, sequences=SEQUENCES[:1], frames=2)
    one, two, three = (
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*0*.*"))] for name in ("one", "two", "three")
    )
    assert len(one) == 4
    assert one == two
    assert all(ours != theirs for ours, theirs in zip(one, three, strict=True))


def test_an_existing_copy_is_never_overwritten(copy):
    before = (copy / "ImageSets/2017/val.txt").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"val\.txt exists"):
        write(copy, frames=2)
    assert (copy / "ImageSets/2017/val.txt").stat().st_mtime_ns == before
