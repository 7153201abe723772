"""RVM in torch: `model` is the network, `encoder` the benchmark's adapter, `weights` the way from a checkpoint to both."""
