"""RVM in JAX: `model` is the network, `weights` fills it from a checkpoint, `objective` is what it is trained on.

`frozen` runs it with fixed weights, and `encoder` adapts that to the benchmark: it alone knows torch, and never imports
jax. `trainer` trains it, on a mesh of devices. Needs the extra `jax`.
"""
