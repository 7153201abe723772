"""What label propagation remembers of a video: frame 0, a ring of the last frames, and the labels of all of them."""

import torch
from torch import Tensor


class Context:
    """The `n_context + 1` slots that frame t is compared with, and the arithmetic from slots to what is stored.

    Slot 0 is frame 0 with its given labels. Slot j in 1..n_context is the queue, oldest first: frame t - n_context +
    j - 1 with its predicted labels where that is 0 or more, else a copy of frame 0 with the given labels. In a queue
    that starts empty (`fill` "empty") the slots of frame 0 and of its copies hold nothing. An entry of the context has
    the index slot * N + cell, cells counted row-major, so that a lower index is the one that wins a tie.

    Features are stored once per frame in float32, positions in the order of `cell_AB`; frame 0 is kept apart and
    never in the ring.

    first_ABD: features of frame 0. heat_NK: its given labels, by position. cell_AB: row-major cell at each position.
    """

    def __init__(self, first_ABD: Tensor, heat_NK: Tensor, cell_AB: Tensor, *, n_context: int, fill: str = "first"):
        self.n_context = n_context
        self.fill = fill
        self.n_cells = len(heat_NK)
        self.device = first_ABD.device
        self.cell_AB = cell_AB
        self._position = torch.empty(self.n_cells, dtype=torch.int64, device=self.device)
        self._position[cell_AB.flatten()] = torch.arange(self.n_cells, device=self.device)
        # A clone, because the caller may reuse the memory of the frame it passed in.
        self.first_ND = first_ABD.flatten(0, 1).clone()
        self._ring_SABD = torch.empty((n_context, *first_ABD.shape), device=self.device)
        # Labels of the ring's frames; the last row keeps the given labels of frame 0.
        self._labels = torch.empty((n_context + 1, *heat_NK.shape), device=self.device)
        self._labels[n_context] = heat_NK
        self.t = 0

    @property
    def _live(self) -> slice:
        """Rows of the ring that hold a frame of the queue. Frame e is in row e mod n_context."""
        return slice(0, self.n_context) if self.t > self.n_context else slice(1, max(self.t, 1))

    @property
    def queue_SABD(self) -> Tensor:
        """Features of the queue's frames other than frame 0, in no particular order."""
        return self._ring_SABD[self._live]

    @property
    def queue_slots(self) -> Tensor:
        """Slot [S] of each frame of `queue_SABD`."""
        rows = torch.arange(self.n_context, device=self.device)[self._live]
        return (rows - self.t) % max(self.n_context, 1) + 1

    @property
    def slots_of_first(self) -> Tensor:
        """Slots [S] that hold frame 0, ascending: slot 0, its copies in the queue, and its entry with predictions."""
        copies = self.n_context - self.t if self.fill == "first" else -1
        in_queue = max(0, copies + 1) if self.t else max(0, copies)
        return torch.arange(1 + in_queue, device=self.device)

    def in_slots(self, keys: Tensor, slots: Tensor) -> Tensor:
        """Keys [n, k] of entries of slot 0, entered once for each of `slots` [S]: [n, S * k].

        A key falls by one where its index grows by one, so a slot is a constant to subtract.
        """
        return (keys[:, None, :] - self.n_cells * slots[:, None]).flatten(1)

    def labels_in(self, slot: int) -> Tensor:
        """Labels [N, K] of what a slot holds, by position."""
        return self._labels[self._row_of_slot[slot]]

    @property
    def _row_of_slot(self) -> Tensor:
        """Row of the stored labels for each slot [n_context + 1]."""
        slots = torch.arange(self.n_context + 1, device=self.device)
        frame = slots + (self.t - self.n_context - 1)
        given = (slots == 0) | (frame < 0)
        return torch.where(given, self.n_context, frame % max(self.n_context, 1))

    def labels_of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """A table of labels [M, K] and, for each context index (slot * N + cell), its row in that table."""
        slot, cell = index // self.n_cells, index % self.n_cells
        return self._labels.flatten(0, 1), self._row_of_slot[slot] * self.n_cells + self._position[cell]

    def push(self, features_ABD: Tensor, labels_NK: Tensor) -> None:
        """Takes in frame t with its labels and moves on to t + 1; the oldest frame of a full queue is overwritten."""
        if self.n_context:
            self._labels[self.t % self.n_context] = labels_NK
            if self.t:
                self._ring_SABD[self.t % self.n_context] = features_ABD
        self.t += 1
