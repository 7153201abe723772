"""The demo copy has the official layout of VIP, and is a fair little benchmark."""

import numpy as np
import pytest
from PIL import Image

from rvm_bench.demo.vip import CLASSES, CLIPS, STEP, write
from rvm_bench.errors import UserError
from rvm_bench.media.images import voc_palette


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "VIP"
    calls = []
    write(folder, progress=lambda name, done: calls.append((name, done)))
    assert calls == [(clip.name, done + 1) for clip in CLIPS for done in range(clip.frames)]
    return folder


def opened(path):
    """(size, mode, format, pixels) of an image file."""
    with Image.open(path) as image:
        return image.size, image.mode, image.format, np.array(image)


def masks(folder, name):
    return [opened(path)[-1] for path in sorted((folder / "Annotations/Category_ids" / name).iterdir())]


def test_the_list_names_every_video_and_nothing_else_is_written(copy):
    names = (copy / "lists/val_videos.txt").read_text().splitlines()
    assert names == [clip.name for clip in CLIPS]
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    stems = [f"{clip.name}/{1 + STEP * t:012d}" for clip in CLIPS for t in range(clip.frames)]
    expected = {f"Images/{stem}.jpg" for stem in stems} | {f"Annotations/Category_ids/{stem}.png" for stem in stems}
    assert files == expected | {"lists/val_videos.txt"}


def test_images_are_rgb_and_annotations_palette_indices(copy):
    for clip in CLIPS:
        for path in (copy / "Images" / clip.name).iterdir():
            assert opened(path)[:3] == ((854, 480), "RGB", "JPEG")
        for path in (copy / "Annotations/Category_ids" / clip.name).iterdir():
            assert opened(path)[:3] == ((854, 480), "P", "PNG")
            with Image.open(path) as image:
                palette = np.array(image.getpalette()).reshape(-1, 3)
            np.testing.assert_array_equal(palette, voc_palette()[: len(palette)])


def test_ids_are_the_classes_of_vip_and_things_are_background(copy):
    assert CLASSES == 20
    seen = set()
    for clip in CLIPS:
        ids = {int(i) for mask in masks(copy, clip.name) for i in np.unique(mask)}
        assert ids <= set(range(20))
        assert len(ids) > 10
        seen |= ids
    assert len(seen) > 15


def test_nearly_all_classes_of_a_video_are_there_at_the_start_and_they_move(copy):
    for clip in CLIPS:
        found = masks(copy, clip.name)
        start = set(np.unique(found[0]))
        later = {i for mask in found for i in np.unique(mask)}
        assert len(start) >= 0.8 * len(later)
        kept = np.mean([(mask[found[0] > 0] == found[0][found[0] > 0]).mean() for mask in found[1:]])
        assert 0.02 < kept < 0.7


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, clips=CLIPS[:1])
    one, two, three = (
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*0*.*"))] for name in ("one", "two", "three")
    )
    assert len(one) == 2 * CLIPS[0].frames
    assert one == two
    assert all(ours != theirs for ours, theirs in zip(one, three, strict=True))


def test_an_existing_copy_is_never_overwritten(copy):
    before = (copy / "lists/val_videos.txt").read_bytes()
    with pytest.raises(UserError, match=r"val_videos\.txt exists"):
        write(copy)
    assert (copy / "lists/val_videos.txt").read_bytes() == before
