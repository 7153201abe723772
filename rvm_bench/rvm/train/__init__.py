"""Pre-training RVM: what is minimised, the recipes, what they cost, and the schedule, without torch or JAX.

The objective (paper sections 3 and 4.1; `rvm_bench.rvm.torch.objective` and its JAX twin):

Of a clip, 4 consecutive frames are the sources. Each passes through the ViT with all its patches and CLS, and the
recurrent core, from a zero state, turns their tokens into one set of features per frame. 4 targets are drawn, each by
itself and uniformly, 4 to 48 frames after the last source. Of a target 95 % of the patches are hidden; the visible ones
and CLS pass through the same ViT, but not through the core. The decoder embeds the features and the visible patches by
one linear layer, puts a learned mask token at the hidden places, adds positions and an embedding of the target's delta,
and attends from each target to the features of all sources. Its pixels are compared with the target's: the mean squared
error over all pixels of all targets, hidden or not, in [0, 1] units, without normalisation of patches.
"""
