"""The refusal of frames whose size a network cannot take, in one line."""

import contextlib
from collections.abc import Iterator

import torch

from rvm_bench.errors import UserError


@contextlib.contextmanager
def refused_sizes(name: str, size_px: tuple[int, int], native_px: tuple[int, int]) -> Iterator[None]:
    """Around the forward pass of a network on frames of `size_px`, (height, width).

    Raises:
        UserError: the pass failed on frames of another size than the native one; other errors pass through.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        if size_px == native_px:
            raise
        raise UserError(
            f"{name} cannot take frames of {size_px[0]}x{size_px[1]} px; its positions are made for "
            f"{native_px[0]}x{native_px[1]} px ({first_line(error)})"
        ) from error


def first_line(error: Exception) -> str:
    """First line of an error's message; its type if the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]
