"""Videos of every kind, written once."""

import pytest
from films import KINDS, VP9, X264, write


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """One 40-frame video of each kind: name -> file."""
    folder = tmp_path_factory.mktemp("films")
    return {
        name: write(folder / name, codec, options, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
        for name, (codec, options) in KINDS.items()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Contents of small files of three containers, to be damaged."""
    folder = tmp_path_factory.mktemp("small")
    kinds = {"a.mp4": ("libx264", X264), "a.webm": ("libvpx-vp9", VP9), "a.avi": ("mpeg4", {"g": "12", "bf": "2"})}
    return {name: write(folder / name, *kind, frames=24, size_hw=(32, 48)).read_bytes() for name, kind in kinds.items()}
