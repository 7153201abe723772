"""RVM in torch: `model` is the network, `weights` fills it from a checkpoint, `encoder` adapts it to the benchmark."""
