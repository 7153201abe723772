"""The reference RVM, in torch and in JAX. Nothing heavy is imported here."""

from rvm_bench.rvm.reconstruction import reconstruct

__all__ = ["reconstruct"]
