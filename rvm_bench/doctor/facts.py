"""What the card says against what is there: pixels, layers, weights; and what a frame costs in time and memory."""

import gc
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rvm_bench.doctor import stimuli
from rvm_bench.doctor.contract import held_parameters
from rvm_bench.doctor.subject import LEAK, SMALL_GRID, Subject, difference
from rvm_bench.doctor.verdict import Verdict, fail, note, ok
from rvm_bench.runs.stamp import peak_memory_mb

COUNT_TOLERANCE = 0.03
"""Share by which the parameters held may differ from the card's number before it is worth a note."""


def card(subject: Subject) -> Verdict:
    """The card makes sense in itself, and `prepare` normalises pixels as it says."""
    said, mean, std = subject.card, np.array(subject.card.pixel_mean), np.array(subject.card.pixel_std)
    if min(said.patch, said.width, said.frames) < 1:
        return fail(
            f"patch {said.patch}, width {said.width}, frames {said.frames}", "each must be at least 1: correct the card"
        )
    if mean.shape != (3,) or std.shape != (3,) or not (np.isfinite(std).all() and (std > 0).all()):
        return fail(f"pixel mean {mean}, std {std}", "three finite means and three standard deviations above 0")
    if mean.min() < 0 or mean.max() > 1 or std.max() > 5:
        return fail(
            f"pixel mean {mean}, std {std} do not look like pixels in [0, 1]", "divide the published numbers by 255"
        )
    doubts = [f"no {field}" for field in ("licence", "source") if not getattr(said, field)]
    if subject.kind in ("image", "recurrent") and said.frames != 1:
        doubts.append(f"frames is {said.frames}, though one pass of this kind of encoder sees 1")
    pixels = subject.encoder.prepare(subject.small.copy())
    expected = (subject.small / 255 - mean) / std
    if tuple(pixels.shape) == tuple(expected.transpose(0, 3, 1, 2).shape):
        change = difference(pixels.float().cpu().numpy(), expected.transpose(0, 3, 1, 2))
        if change > 0.02:
            doubts.append(f"prepare normalises otherwise than pixel_mean and pixel_std, by {change:.2g} of the spread")
    measured = f"patch {said.patch}, width {said.width}, frames {said.frames}, {'not ' * (not said.causal)}causal"
    return note(f"{measured}; {'; '.join(doubts)}", "say it in the card") if doubts else ok(measured)


def taps(subject: Subject) -> Verdict:
    """The layer that readouts read: shape, finite, and whether it is another one than propagation reads."""
    video = subject.small[:2]
    usual, readout, repeated = (
        subject.features(video, subject.encoder.at(tap)) for tap in ("propagation", "readout", "propagation")
    )
    if not np.isfinite(readout).all():
        return fail("the features that readouts read are not finite", "see `finite`; the tap is 'readout'")
    if difference(repeated, usual) > LEAK:
        return fail("reading the readout's layer changes what propagation reads", "`at` must return a copy")
    differs = difference(readout, usual) > LEAK
    named = subject.card.taps
    if not differs and named.get("propagation", "").split(",")[0] != named.get("readout", "").split(",")[0]:
        return note(
            f"readout and propagation read the same features, though the card names two layers: {dict(named)}",
            "choose the layer by self.tap in the forward method, or name one in the card",
        )
    return ok(f"readout and propagation read {'different layers' if differs else 'the same layer'}")


def weights(subject: Subject) -> Verdict:
    """Where the weights come from, and how many there are against the card's number."""
    held = held_parameters(subject.encoder) / 1e6
    sha256 = subject.encoder.weights_sha256()
    kind = subject.encoder.describe()["weights"]["kind"]
    provenance = f"{kind}" + (f", sha256 {sha256[:12]}" if sha256 else "")
    stated = subject.card.params_m
    measured = f"{provenance}; {held:.3g} M parameters held"
    if held and sha256 is None:
        return note(f"{measured}, none of them in the hash", "hold the network as an attribute of the encoder")
    if held and kind == "none":
        return note(f"{measured}, though it says that it has none", "set encoder.weights = Provenance(kind=...)")
    if held and kind == "not stated":
        return note(
            f"{measured}; where they come from is not stated, and tables will say so",
            'set encoder.weights = Provenance(kind="file", path=..., sha256=...), or another kind',
        )
    if not held and stated:
        return note(f"{measured}, the card says {stated:g} M", "hold the network as an attribute, or correct params_m")
    if abs(held - stated) > COUNT_TOLERANCE * max(stated, 1e-3):
        return note(f"{measured}, the card says {stated:g} M (a paper may count a decoder, or leave out embeddings)")
    return ok(f"{measured}, the card says {stated:g} M")


def speed(subject: Subject) -> Verdict:
    """Frames per second: the fastest of all full-size passes over a whole window."""
    size = subject.size(subject.grid)
    passes = [
        pass_
        for pass_ in subject.timings
        if (pass_.height_px, pass_.width_px) == size and pass_.frames == len(subject.short)
    ]
    if not passes:
        return note("not measured: no pass over a whole window succeeded")
    fastest = min(passes, key=lambda pass_: pass_.seconds)
    peak = peak_memory_mb(subject.encoder.device.type)
    return ok(
        f"{fastest.frames / max(fastest.seconds, 1e-9):.3g} frames/s at {size[0]}x{size[1]} px, the fastest of "
        f"{len(passes)} passes of {fastest.frames} frames, {torch.get_num_threads()} threads; peak of this process "
        + ", ".join(f"{mb:.0f} MiB {where}" for where, mb in peak.items())
    )


def memory(subject: Subject) -> Verdict:
    """What streaming keeps: memory in use at an early and a late frame of one long video, read lazily by slices."""
    early, late = (16, 64) if subject.card.frames == 1 else (subject.card.frames, 4 * subject.card.frames)
    height, width = subject.size(SMALL_GRID)
    video = _Lazy(late, height, width)
    gc.collect()
    done = 0
    marks: list[tuple[int, int, int]] = []
    for piece in subject.encoder.stream(video):
        done += len(piece)
        if done >= (late if marks else early):
            marks.append((done, *_memory_in_use(subject.encoder.device)))
            if len(marks) == 2:
                break
    if done == late and len(marks) < 2:
        return note(
            f"all {late} frames were yielded at once, {video.most} read at once",
            "read the frames by slices and yield a few feature maps at a time, so that memory does not grow",
        )
    if len(marks) < 2:
        return fail(f"{done} feature maps for {late} frames", "stream yields one map per frame, a few at a time")
    (from_frame, live, resident), (to_frame, live_later, resident_later) = marks
    per_frame_kib = max(0, live_later - live) / (to_frame - from_frame) / 1024
    map_kib = SMALL_GRID[0] * SMALL_GRID[1] * subject.card.width * 4 / 1024
    measured = (
        f"frame {from_frame} to {to_frame} of {height}x{width} px: tensors grow by {per_frame_kib:.2g} KiB a frame "
        f"(a feature map is {map_kib:.2g} KiB), the process by {(resident_later - resident) / 2**20:+.1f} MiB"
    )
    if video.most > max(subject.encoder.chunk, subject.card.frames):
        return note(f"{measured}; {video.most} frames were read at once", "read at most `chunk` frames at a time")
    if per_frame_kib > map_kib / 4:
        return note(measured, "keep only the state: memory must not grow with the length of the video")
    return ok(measured)


class _Lazy:
    """A long video that exists only where it is sliced, and remembers how much was asked for at once."""

    def __init__(self, frames: int, height_px: int, width_px: int) -> None:
        self.shape = (frames, height_px, width_px, 3)
        self.most = 0

    def __getitem__(self, frames: slice, /) -> np.ndarray:
        count = len(range(*frames.indices(self.shape[0])))
        self.most = max(self.most, count)
        return stimuli.drifting(count, *self.shape[1:3], seed=9 + (frames.start or 0))


def _memory_in_use(device: torch.device) -> tuple[int, int]:
    """Bytes in tensors that Python can reach (or the accelerator's allocator holds), and bytes resident."""
    if device.type == "cuda":
        live = torch.cuda.memory_allocated(device)
    else:
        # By type, not isinstance: that would run properties of unrelated objects.
        live = sum(t.numel() * t.element_size() for t in gc.get_objects() if issubclass(type(t), Tensor))
    statm = Path("/proc/self/statm")
    if sys.platform == "linux" and statm.exists():
        return live, int(statm.read_text().split()[1]) * _page_bytes()
    return live, int(peak_memory_mb(device.type)["resident"] * 2**20)


def _page_bytes() -> int:
    import resource

    return resource.getpagesize()
