"""k-nearest-neighbour label propagation: exact, in memory that does not grow with the video."""

from propagation.knn.propagator import Propagator, normalize, propagate
from propagation.knn.rules import Rules

__all__ = ["Propagator", "Rules", "normalize", "propagate"]
