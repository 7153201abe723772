"""Labels of a frame follow from the frames up to it, and long videos stay finite in memory that does not grow."""

import functools
import gc

import numpy as np
import pytest
import torch
from PIL import Image

from propagation.knn.propagator import Propagator, normalize
from propagation.labels import mask_to_heat
from propagation.tasks.base import soft_labels
from propagation.tasks.davis import DavisProtocol
from rvm_bench.fetch.load import load_encoder

HEIGHT_PX, WIDTH_PX = 32, 48
SMALL = {"input_height_px": HEIGHT_PX, "input_width_px": WIDTH_PX, "radius": 2}
PROTOCOLS = {"paper": DavisProtocol(**SMALL), "short queue": DavisProtocol(**SMALL, n_context=2)}


@functools.cache
def encoder_of(name):
    return load_encoder(name, device="cpu", **({"weights": "random"} if name == "rvm-tiny" else {}))


class EndlessVideo:
    """A square that moves over a background that shifts; frames are made when they are sliced."""

    def __init__(self, frames):
        self.shape = (frames, HEIGHT_PX, WIDTH_PX, 3)
        self._background = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)

    def __getitem__(self, frames):
        return np.stack([self._frame(t) for t in range(self.shape[0])[frames]])

    def _frame(self, t):
        frame = np.roll(self._background, t, axis=1)
        top, left = t % (HEIGHT_PX - 12), 3 * t % (WIDTH_PX - 12)
        frame[top : top + 12, left : left + 12] = (250, 30, 30)
        return frame


def first_heat(encoder):
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    mask[:12, :12] = 1
    heat, _ = mask_to_heat(mask, encoder.grid(HEIGHT_PX, WIDTH_PX), (HEIGHT_PX, WIDTH_PX))
    return heat


def write_frames(folder, frames):
    folder.mkdir()
    files = [folder / f"{t:05d}.png" for t in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(file)
    return files


@pytest.fixture(scope="module")
def soft_labels_of(tmp_path_factory):
    """By model and protocol: the soft labels [T, h, w, K] of a video whose frames from one on are random, or None."""

    @functools.cache
    def files(changed_from):
        frames = EndlessVideo(10)[:]
        if changed_from is not None:
            frames[changed_from:] = np.random.default_rng(1).integers(0, 256, frames[changed_from:].shape)
        return write_frames(tmp_path_factory.mktemp("video") / "frames", frames)

    @functools.cache
    def soft(model, protocol, changed_from):
        encoder = encoder_of(model)
        labels = soft_labels(encoder, files(changed_from), first_heat(encoder), PROTOCOLS[protocol])
        return torch.stack(list(labels))

    return soft


@pytest.mark.parametrize("model", ["pixels", "rvm-tiny"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("changed_from", [1, 3, 6, 9])
def test_labels_do_not_change_when_later_frames_do(soft_labels_of, model, protocol, changed_from):
    soft, changed = (soft_labels_of(model, protocol, start) for start in (None, changed_from))
    torch.testing.assert_close(soft[:changed_from], changed[:changed_from], rtol=0, atol=1e-6)
    assert (soft[changed_from:] - changed[changed_from:]).abs().max() > 1e-3


@pytest.mark.parametrize("model", ["pixels", "rvm-tiny"])
def test_a_prefix_of_a_video_has_the_labels_of_the_whole(tmp_path, model):
    encoder = encoder_of(model)
    files, heat = write_frames(tmp_path / "video", EndlessVideo(10)[:]), first_heat(encoder)
    whole = list(soft_labels(encoder, files, heat, PROTOCOLS["paper"]))
    prefix = list(soft_labels(encoder, files[:6], heat, PROTOCOLS["paper"]))
    torch.testing.assert_close(torch.stack(prefix), torch.stack(whole[:6]), rtol=0, atol=1e-5)


def test_the_state_of_a_recurrent_encoder_reaches_the_features_of_later_frames():
    """Otherwise the tests above would hold for it as they do for images."""
    encoder, frames = encoder_of("rvm-tiny"), EndlessVideo(6)[:]
    other = frames.copy()
    other[0] = 255 - other[0]
    difference = np.abs(encoder.encode(frames) - encoder.encode(other)).max((1, 2, 3))
    assert (difference[1:] > 1e-4).all()


def tensor_bytes():
    """Bytes of all live tensors, each storage counted once."""
    gc.collect()
    storages = {}
    for held in gc.get_objects():
        if issubclass(type(held), torch.Tensor):  # isinstance would ask lazy modules for a class
            storage = held.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_a_thousand_frames_stay_finite_and_hold_no_more_than_a_hundred():
    encoder = encoder_of("rvm-tiny")
    propagator = Propagator(torch.from_numpy(first_heat(encoder)), **vars(PROTOCOLS["paper"].rules))
    held = {}
    t = 0
    for chunk in encoder.stream(EndlessVideo(1000)):
        assert torch.isfinite(chunk).all()
        soft = torch.stack([propagator.step(normalize(features)) for features in chunk])
        assert torch.isfinite(soft).all()
        torch.testing.assert_close(soft.sum(-1), torch.ones(soft.shape[:-1]), rtol=0, atol=1e-3)
        t += len(chunk)
        if t in (100, 500, 1000):
            held[t] = tensor_bytes()
    assert t == 1000
    assert held[100] == held[500] == held[1000]
