"""The model as it is registered: a card and where its builder is. Importing this imports no torch."""

from rvm_bench.api import EncoderCard, Model

DIFFERENCES = Model(
    card=EncoderCard(
        name="compat-differences",
        family="compat",
        patch=16,
        width=6,
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.25, 0.25, 0.25),
        taps={"propagation": "the only layer", "readout": "the only layer"},
        licence="Apache-2.0",
        source="the tests of rvm-bench",
    ),
    builder="compat_plugin.model:build",
    takes_weights=False,
)
