"""The encoder contract: one feature map per frame, whatever the family and the length of the video."""

import numpy as np
import pytest
import torch

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ClipEncoder, ImageEncoder, RecurrentEncoder, resize_time
from rvm_bench.errors import UserError
from rvm_bench.rvm.models import RVM_TINY


def card(**changes):
    facts = {"name": "test", "family": "test", "patch": 4, "width": 3, "frames": 1}
    return EncoderCard(**(facts | changes))


class MeanColour(ImageEncoder):
    """Features are the mean normalised colour of each patch."""

    card = card(pixel_mean=(0.5, 0.25, 0.0), pixel_std=(0.5, 0.5, 2.0))

    def forward_frames(self, frames):
        return torch.nn.functional.avg_pool2d(frames, 4).permute(0, 2, 3, 1)


class TubeNumber(ClipEncoder):
    """Features are (number of the tube, mean of the tube's pixels, number of the call)."""

    card = card(frames=16, pixel_mean=(0.5, 0.5, 0.5), pixel_std=(0.5, 0.5, 0.5), causal=False)
    calls = 0

    def forward_clip(self, clips):
        pixels = clips.mean(1).unfold(1, 2, 2).mean(-1)
        pixels = torch.nn.functional.avg_pool2d(pixels, 4)
        tube = torch.arange(8.0).view(1, 8, 1, 1).expand_as(pixels)
        self.calls += 1
        return torch.stack([tube, pixels, torch.full_like(pixels, self.calls)], dim=-1)


class Counter(RecurrentEncoder):
    """Features are (frames seen, mean of all pixels seen, 0)."""

    card = card()

    def init_state(self, batch, height_px, width_px):
        return 0, 0.0

    def step(self, frames, state):
        seen, total = state[0] + 1, state[1] + frames.mean((1, 2, 3))
        mean = total / seen
        values = torch.stack([torch.full_like(mean, seen), mean, torch.zeros_like(mean)], dim=-1)[:, None, None]
        return values.expand(len(frames), frames.shape[2] // 4, frames.shape[3] // 4, 3), (seen, total)


def noise(frames, height=8, width=12):
    return np.random.default_rng(frames).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def test_an_image_encoder_sees_normalised_pixels_and_returns_one_float32_map_per_frame():
    video = np.full((3, 8, 12, 3), 255, np.uint8)
    features = MeanColour().encode(video)
    assert features.dtype == np.float32
    assert features.shape == (3, 2, 3, 3)
    np.testing.assert_allclose(features[0, 0, 0], [1.0, 1.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_features_do_not_depend_on_the_chunk(chunk):
    encoder = MeanColour()
    encoder.chunk = chunk
    np.testing.assert_allclose(encoder.encode(noise(7)), MeanColour().encode(noise(7)), atol=1e-6)


def test_a_tensor_is_as_good_as_an_array():
    video = noise(2)
    np.testing.assert_array_equal(MeanColour().encode(torch.from_numpy(video)), MeanColour().encode(video))


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 40])
def test_a_clip_encoder_returns_one_map_per_frame_of_windows_that_do_not_overlap(frames):
    features = TubeNumber().encode(noise(frames))
    assert features.shape == (frames, 2, 3, 3)
    np.testing.assert_array_equal(features[:, 0, 0, 2], [1 + t // 16 for t in range(frames)])


def test_the_tail_is_padded_with_the_mean_colour_after_normalisation():
    # White is +1 after normalisation, the padding 0: tube 0 holds frames 0 and 1, tube 1 frame 2 and one padded frame.
    features = TubeNumber().encode(np.full((3, 8, 12, 3), 255, np.uint8))
    np.testing.assert_allclose(features[0, 0, 0, 1], 1.0)
    np.testing.assert_allclose(features[2, 0, 0, 1], 0.25 * 1.0 + 0.75 * 0.5)


def test_linear_time_is_half_pixel_interpolation_clamped_at_the_ends():
    tubes = torch.arange(8.0).view(8, 1, 1, 1)
    frames = resize_time(tubes, 16, "linear").flatten()
    expected = [0.0] + [k + d for k in range(7) for d in (0.25, 0.75)] + [7.0]
    np.testing.assert_allclose(frames, expected, atol=1e-6)


def test_cubic_time_has_the_weights_of_jax_image_resize():
    # Rows of jax.image.resize(identity, method="cubic") from 8 to 16; specs give them to six digits.
    rows = resize_time(torch.eye(8).view(8, 1, 1, 8), 16, "cubic").reshape(16, 8).numpy()
    np.testing.assert_allclose(rows[0, :2], [1.088235, -0.088235], atol=1e-5)
    np.testing.assert_allclose(rows[1, :3], [0.810219, 0.211679, -0.021898], atol=1e-5)
    np.testing.assert_allclose(rows[2, :3], [0.221374, 0.847328, -0.068702], atol=1e-5)
    np.testing.assert_allclose(rows[6, 1:5], [-0.023438, 0.226562, 0.867188, -0.070312], atol=1e-5)
    np.testing.assert_allclose(rows[7, 2:6], [-0.070312, 0.867188, 0.226562, -0.023438], atol=1e-5)
    np.testing.assert_allclose(rows[15, 7:5:-1], rows[0, :2], atol=1e-6)


def test_a_recurrent_encoder_carries_its_state_over_the_whole_video():
    video = noise(9)
    features = Counter().encode(video)
    np.testing.assert_array_equal(features[:, 0, 0, 0], np.arange(1, 10))
    np.testing.assert_allclose(features[-1, 0, 0, 1], video.mean() / 255, rtol=1e-5)


def test_each_video_starts_from_the_first_state():
    encoder = Counter()
    np.testing.assert_array_equal(encoder.encode(noise(5)), encoder.encode(noise(5)))


@pytest.mark.parametrize(
    ("video", "problem"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "float32"),
        (np.zeros((8, 8, 3), np.uint8), r"\(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"\(2, 8, 8, 4\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"\(0, 8, 8, 3\)"),
        (np.zeros((1, 3, 8, 3), np.uint8), "one 4 px patch"),
    ],
)
def test_a_wrong_video_is_refused_with_what_was_found(video, problem):
    with pytest.raises(UserError, match=problem):
        MeanColour().encode(video)


def test_features_of_another_shape_than_the_card_promises_are_refused():
    class Wrong(MeanColour):
        card = card(width=5)

    with pytest.raises(UserError, match=r"returned features of shape \(2, 2, 3, 3\); expected \(2, 2, 3, 5\)"):
        Wrong().encode(noise(2))


def test_an_adapter_that_forgets_the_base_constructor_or_evaluation_mode_still_works():
    class Forgetful(MeanColour):
        def __init__(self):
            self.net = torch.nn.Dropout(0.5)

        def forward_frames(self, frames):
            return self.net(super().forward_frames(frames))

    encoder = Forgetful().to("cpu")
    np.testing.assert_array_equal(encoder.encode(noise(3)), MeanColour().encode(noise(3)))
    assert encoder.describe()["options"] == {}


def test_the_weights_hash_covers_every_tensor_and_follows_a_change():
    class WithNet(MeanColour):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 2)
            torch.nn.init.ones_(self.net.weight)
            torch.nn.init.zeros_(self.net.bias)

    first, same, other = WithNet(), WithNet(), WithNet()
    other.net.bias.data[1] = 1e-7
    assert first.weights_sha256() == same.weights_sha256() != other.weights_sha256()
    assert MeanColour().weights_sha256() is None


@pytest.mark.parametrize("kind", [MeanColour, TubeNumber, Counter])
@pytest.mark.parametrize("chunk", [1, 3, 32, 100])
def test_clips_are_encoded_as_videos_of_their_own(kind, chunk):
    clips = np.stack([noise(20, 8, 12) // (1 + index) for index in range(5)])
    encoder = kind()
    encoder.chunk = chunk
    together = encoder.clips(clips)
    assert together.shape == (5, 20, 2, 3, 3)
    assert not together.is_inference()
    if kind is TubeNumber:
        together, alone = together[..., :2], np.stack([kind().encode(clip) for clip in clips])[..., :2]
    else:
        alone = np.stack([kind().encode(clip) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_in_full_groups_a_clip_has_the_same_bits_whatever_stands_beside_it():
    encoder = RVM_TINY(weights="random")
    clips = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 48, 3), dtype=np.uint8)
    whole = encoder.clips(clips, fill=True)
    assert torch.equal(encoder.clips(clips[4:5], fill=True)[0], whole[4])
    assert torch.equal(encoder.clips(clips[::-1], fill=True).flip(0), whole)


def test_clips_of_a_wrong_shape_are_refused():
    for clips in (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((0, 2, 8, 8, 3), np.uint8)):
        with pytest.raises(UserError, match=r"expected uint8 \[B, T, H, W, 3\]"):
            MeanColour().clips(clips)
