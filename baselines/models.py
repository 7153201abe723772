"""The baselines' cards, as the entry points name them."""

from rvm_bench.card import EncoderCard, Model

PIXELS = Model(
    card=EncoderCard(
        name="pixels",
        family="pixels",
        patch=16,
        width=768,
        taps={"propagation": "raw pixels", "readout": "raw pixels"},
        licence="Apache-2.0",
        source="rvm-bench",
        note="each 16x16 patch flattened: the floor that every learned feature must beat",
    ),
    builder="baselines.pixels:build",
    takes_weights=False,
)
