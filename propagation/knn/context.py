"""The context of label propagation: frame 0, a first-in-first-out queue of the last frames, and the labels of all."""

import torch
from torch import Tensor


class Context:
    """The `n_context + 1` slots whose cells frame t is compared with.

    Slot 0 is frame 0 with its given labels. Slot j in 1..n_context is the queue, oldest first: frame t - n_context +
    j - 1 with its predicted labels where that number is 0 or more, else a copy of frame 0 with its given labels. If the
    queue starts empty (`fill` "empty"), the slots of frame 0 in the queue, copy or not, hold nothing.

    An entry is one cell of one slot. Its index is slot * N + cell, with N cells per frame counted row-major, so that
    "the lower index wins a tie" means the lower slot, then the lower cell.

    Storage: the features of frame 0 once, however many slots hold it; those of later frames in a ring buffer, float32,
    frame e in row e mod n_context. Cells are stored with the long grid axis (A) first, then the short one (B); a cell's
    place in that order is its position.

    first_ABD: features of frame 0.
    heat_NK: its given labels, by position.
    cell_AB: the row-major cell at each position.
    """

    def __init__(self, first_ABD: Tensor, heat_NK: Tensor, cell_AB: Tensor, *, n_context: int, fill: str = "first"):
        self.n_context = n_context
        self.fill = fill
        self.n_cells = len(heat_NK)
        self.device = first_ABD.device
        self.cell_AB = cell_AB
        self._position = torch.empty(self.n_cells, dtype=torch.int64, device=self.device)
        self._position[cell_AB.flatten()] = torch.arange(self.n_cells, device=self.device)
        # A clone, because the caller may reuse the memory of the frame.
        self.first_ND = first_ABD.flatten(0, 1).clone()
        self._ring_SABD = torch.empty((n_context, *first_ABD.shape), device=self.device)
        # Predicted labels of the ring's frames; the last row has the given labels of frame 0.
        self._labels = torch.empty((n_context + 1, *heat_NK.shape), device=self.device)
        self._labels[n_context] = heat_NK
        self.t = 0

    @property
    def _filled(self) -> slice:
        """Rows of the ring that hold a frame of the queue. Row 0 stays free until a frame other than 0 takes it."""
        return slice(0, self.n_context) if self.t > self.n_context else slice(1, max(self.t, 1))

    @property
    def queue_SABD(self) -> Tensor:
        """Features of the queue's frames other than frame 0, in the order of the ring."""
        return self._ring_SABD[self._filled]

    @property
    def queue_slots(self) -> Tensor:
        """Slot [S] of each frame of `queue_SABD`."""
        rows = torch.arange(self.n_context, device=self.device)[self._filled]
        return (rows - self.t) % max(self.n_context, 1) + 1

    @property
    def slots_of_first(self) -> Tensor:
        """Slots [S] that hold frame 0, ascending: slot 0, its copies in the queue, and its entry with predictions."""
        copies = self.n_context - self.t if self.fill == "first" else -1
        in_queue = max(0, copies + 1) if self.t else max(0, copies)
        return torch.arange(1 + in_queue, device=self.device)

    def repeat_in_slots(self, keys: Tensor, slots: Tensor) -> Tensor:
        """Keys [n, k] of entries of slot 0, repeated for each of `slots` [S]: [n, S * k].

        A key falls by one where its index grows by one, so moving an entry to a slot subtracts a constant.
        """
        return (keys[:, None, :] - self.n_cells * slots[:, None]).flatten(1)

    def labels_in(self, slot: int) -> Tensor:
        """Labels [N, K] of one slot, by position."""
        return self._labels[self._row_of_slot[slot]]

    @property
    def _row_of_slot(self) -> Tensor:
        """Row of the stored labels for each slot [n_context + 1]."""
        slots = torch.arange(self.n_context + 1, device=self.device)
        frame = slots + (self.t - self.n_context - 1)
        given = (slots == 0) | (frame < 0)
        return torch.where(given, self.n_context, frame % max(self.n_context, 1))

    def label_rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The table of all labels [M, K], and the row in it of each entry, given by its index (slot * N + cell)."""
        slot, cell = index // self.n_cells, index % self.n_cells
        return self._labels.flatten(0, 1), self._row_of_slot[slot] * self.n_cells + self._position[cell]

    def push(self, features_ABD: Tensor, labels_NK: Tensor) -> None:
        """Queues frame t with its labels and moves on to t + 1; in a full queue it overwrites the oldest frame."""
        if self.n_context:
            self._labels[self.t % self.n_context] = labels_NK
            # Frame 0 is stored once, outside the ring.
            if self.t:
                self._ring_SABD[self.t % self.n_context] = features_ABD
        self.t += 1
