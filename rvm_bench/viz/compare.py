"""Panels of several models on one video, with colours that agree: those of the first model, for all of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.media.drawing import PALETTE
from rvm_bench.viz.clusters import kmeans, normalized, relabelling
from rvm_bench.viz.maps import feature_maps, on_lattice, to_pixels
from rvm_bench.viz.panels import Panel
from rvm_bench.viz.pca import brightness_signs, matching, principal_scores, to_rgb

MOST_CLUSTERS = len(PALETTE)
LUMA = np.array([0.299, 0.587, 0.114])
"""Brightness of RGB (BT.601)."""


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """Clusters that a model's features fall into.

    Attributes:
        model: its caption.
        labels: int64 [T, h, w], numbered as the first model's.
        patch: side of a cell in pixels.
    """

    model: str
    labels: np.ndarray
    patch: int

    def panel(self, size_hw: tuple[int, int]) -> Panel:
        """The cluster of every pixel in its colour."""
        return Panel(caption=self.model, frames=PALETTE[to_pixels(self.labels, self.patch, size_hw)])


def caption_of(encoder: Encoder) -> str:
    """The model's name, and that it was not trained where the name does not say so."""
    name = encoder.card.name
    return f"{name}, random" if encoder.provenance.kind == "random" and "random" not in name else name


def pca_panels(encoders: Iterable[Encoder], frames: np.ndarray) -> list[Panel]:
    """A panel for each encoder: three whitened principal components of its features in red, green and blue.

    The first encoder's components grow with brightness; those of the others take the order and signs that are most like
    the first's, pixel by pixel. Encoders are asked for one after the other, so that an iterator may load them.

    Args:
        frames: uint8 [T, H, W, 3].
    """
    size_hw = frames.shape[1:3]
    panels: list[Panel] = []
    reference: np.ndarray | None = None
    for encoder in encoders:
        patch = encoder.card.patch
        scores = principal_scores(feature_maps(encoder, frames))
        samples = on_lattice(scores, patch, size_hw)
        if reference is None:
            signs = brightness_signs(samples, on_lattice(frames, 1, size_hw) @ LUMA)
            reference, scores = samples * signs, scores * signs
        else:
            order, signs = matching(samples, reference)
            scores = scores[..., order] * signs
        panels.append(Panel(caption=caption_of(encoder), frames=to_pixels(to_rgb(scores), patch, size_hw)))
    return panels


def clusterings(
    encoders: Iterable[Encoder], frames: np.ndarray, k: int, *, normalize: str = "token", seed: int = 0
) -> list[Clustering]:
    """The k clusters of each encoder's features over all frames, numbered as those of the first that they overlap most.

    Args:
        encoders: asked for one after the other, so that an iterator may load them.
        frames: uint8 [T, H, W, 3].
        k: 2 to `MOST_CLUSTERS`, which is how many colours there are.
        normalize: as `clusters.normalized` takes it.

    Raises:
        UserError: k out of range, or features that do not fall into k clusters.
    """
    if not 2 <= k <= MOST_CLUSTERS:
        raise UserError(f"k is {k}; expected 2 to {MOST_CLUSTERS}, the colours that can be told apart")
    size_hw = frames.shape[1:3]
    found: list[Clustering] = []
    reference: np.ndarray | None = None
    for encoder in encoders:
        maps = normalized(feature_maps(encoder, frames), normalize)
        try:
            flat, _ = kmeans(maps.reshape(-1, maps.shape[-1]), k, seed=seed)
        except UserError as error:
            raise UserError(f"{encoder.card.name}: {error}") from error
        labels = flat.reshape(maps.shape[:3])
        samples = on_lattice(labels, encoder.card.patch, size_hw)
        if reference is None:
            reference = samples
        else:
            labels = relabelling(samples, reference, k)[labels]
        found.append(Clustering(model=caption_of(encoder), labels=labels, patch=encoder.card.patch))
    return found
