"""What the tests of RVM share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """Inputs and outputs of the released model at a tiny size."""
    with np.load(GOLDEN / "rvm_tiny_io.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """JAX without most of its optimisations, which cost more in tests than running their programs."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
