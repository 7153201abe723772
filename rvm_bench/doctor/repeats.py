"""The same video gives the same features: again, after another video, from a fresh copy, and in other batches."""

import numpy as np
import torch
from torch import Tensor

from rvm_bench.api.encoder import RecurrentEncoder
from rvm_bench.doctor import stimuli
from rvm_bench.doctor.subject import LEAK, Subject, described, difference
from rvm_bench.doctor.verdict import Verdict, fail, not_done, ok, said


def repeatable(subject: Subject) -> Verdict:
    """The same call twice. On a CPU every bit must be equal; other devices may sum in another order each time."""
    first, second = subject.features(subject.short), subject.features(subject.short)
    change = difference(second, first)
    if change > (0 if subject.encoder.device.type == "cpu" else subject.tolerance):
        return fail(
            f"the same call twice differs by {described(change)}",
            "look for active dropout, unseeded noise, batch norm that still learns, or a state kept from the last call",
        )
    return ok(f"the same call twice: {described(change)}")


def stateless(subject: Subject) -> Verdict:
    """A video gives the same features after another video as after itself."""
    video = subject.small
    other = stimuli.drifting(len(video), video.shape[1], video.shape[2], seed=6)

    def seeded(frames: np.ndarray) -> np.ndarray:
        # Torch's own noise is the business of `repeatable`; with equal seeds what still differs is state.
        torch.manual_seed(0)
        return subject.features(frames)

    device = subject.encoder.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seeded(video)
        before = seeded(video)
        seeded(other)
        after = seeded(video)
    change = difference(after, before)
    if change > (0 if device.type == "cpu" else subject.tolerance):
        return fail(
            f"videos A, B, A: the second A differs from the first by {described(change)}",
            "start every video from init_state, and keep nothing of a video on the encoder",
        )
    return ok(f"videos A, B, A: the second A is {described(change)}")


def reloaded(subject: Subject) -> Verdict:
    """The encoder made anew gives the same features and the same hash of its weights."""
    if subject.reload is None:
        return not_done("no way to load the model again was given")
    reloaded_encoder = subject.reload()
    change = difference(subject.features(subject.small, reloaded_encoder), subject.features(subject.small))
    same_hash = reloaded_encoder.weights_sha256() == subject.encoder.weights_sha256()
    if change > subject.tolerance or not same_hash:
        return fail(
            f"loaded twice, the features differ by {described(change)} and the weights' hash is "
            f"{'the same' if same_hash else 'another'}",
            "read the weights from their file, or seed the random ones",
        )
    return ok(f"loaded twice: features {described(change)}, same hash of the weights")


def untouched(subject: Subject) -> Verdict:
    """The caller's frames are as they were, after stream and after encode."""
    for call in (lambda video: list(subject.encoder.stream(video)), subject.encoder.encode):
        video = subject.small.copy()
        call(video)
        if not np.array_equal(video, subject.small):
            share = np.mean(video != subject.small)
            return fail(
                f"{share:.0%} of the caller's pixels were overwritten", "copy the frames before writing to them"
            )
    return ok("the caller's frames are left as they were")


def batches(subject: Subject) -> Verdict:
    """Features do not depend on how many frames go through the network together, up to the last bits."""
    # One small window of a clip model is enough: the clip, not the chunk, is its batch.
    video = subject.small if subject.kind == "clip" else subject.short
    own = subject.features(video)
    changes = {
        f"{chunk}": difference(subject.features(video, subject.with_chunk(chunk)), own)
        for chunk in sorted({1, 4, len(video)} - {subject.encoder.chunk})
    }
    if isinstance(subject.encoder, RecurrentEncoder):
        changes["frame by frame through step"] = difference(_stepped(subject.encoder, video), own)
    key, largest = max(changes.items(), key=lambda item: item[1])
    compared = f"chunks of {', '.join(changes)} against {subject.encoder.chunk}"
    if largest > subject.tolerance:
        return fail(
            f"{compared}: {described(largest)} with {key}; at most {subject.tolerance:g} is due to rounding",
            "no statistics over a batch, no frame that looks at its batch, the state carried from chunk to chunk",
        )
    return ok(f"{compared}: {described(largest)}")


def independent(subject: Subject) -> Verdict | None:
    """Image encoders only: a frame's features do not depend on the frames beside it."""
    if subject.kind != "image":
        return None
    worst = 0.0
    for response in subject.time_responses:
        worst = max(worst, float(np.delete(response.largest_T, response.frame).max()))
    if worst > LEAK:
        return fail(
            f"another frame's replacement changes a frame's features by {described(worst)}",
            "an ImageEncoder sees one frame at a time: no statistics over the batch, or use another base class",
        )
    return ok(f"other frames replaced: {described(worst)}")


def encodes(subject: Subject) -> Verdict:
    """`encode` returns what `stream` yields, also where the caller keeps what was yielded."""
    encoder, video = subject.encoder, subject.small
    try:
        whole = encoder.encode(video.copy())
    except Exception as error:  # A plug-in may raise anything; that encode fails is what is measured.
        return fail(f"encode failed: {said(error)}", "leave encode to the base class")
    pieces: list[Tensor] = list(encoder.stream(video.copy()))
    streamed = torch.cat(pieces).detach().cpu().numpy()
    if whole.dtype != np.float32 or whole.shape != streamed.shape:
        return fail(
            f"encode returns {whole.dtype} {whole.shape}, stream {streamed.dtype} {streamed.shape}",
            "leave encode to the base class",
        )
    change = difference(whole, streamed)
    if change > LEAK:
        return fail(
            f"encode differs from what stream yielded by {described(change)}",
            "leave encode to the base class, and yield a new tensor each time, not one buffer filled again",
        )
    return ok(f"encode and stream: {described(change)}")


def _stepped(encoder: RecurrentEncoder, video: np.ndarray) -> np.ndarray:
    """Features by `step` alone, one frame at a time."""
    features = []
    with torch.inference_mode():
        state = encoder.init_state(1, *video.shape[1:3])
        for frame in encoder.prepare(video.copy()):
            feature, state = encoder.step(frame[None], state)
            features.append(feature[0].float().cpu().numpy())
    return np.stack(features)
