"""Colour augmentation of training clips, with the same parameters for all frames of a clip.

The paper names brightness, contrast, saturation, hue and random grayscale (section 11.1) without strengths; these are
those that the authors use elsewhere (google-deepmind/tapnet, `default_color_augmentation_fn`).
"""

import cv2
import numpy as np

COLOUR_PROBABILITY = 0.8
GRAY_PROBABILITY = 0.2
BRIGHTNESS = 32 / 255
SATURATION = CONTRAST = (0.6, 1.4)
HUE = 0.2  # of a full turn
LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)


def colour(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [T, H, W, 3] -> uint8 of the same shape. It always draws the same number of values from `rng`."""
    apply, gray = rng.random(2)
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    saturation, contrast = rng.uniform(*SATURATION), rng.uniform(*CONTRAST)
    hue = rng.uniform(-HUE, HUE)
    if apply >= COLOUR_PROBABILITY and gray >= GRAY_PROBABILITY:
        return clip
    pixels: np.ndarray = clip.astype(np.float32) / 255
    if apply < COLOUR_PROBABILITY:
        # As one tall image: OpenCV converts images, not videos. Values must be in [0, 1].
        tall = np.clip(pixels + np.float32(brightness), 0, 1).reshape(-1, clip.shape[2], 3)
        hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.clip(hsv[..., 1] * np.float32(saturation), 0, 1)
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(clip.shape)
        mean = pixels.mean(axis=(1, 2), keepdims=True)
        pixels = np.clip((pixels - mean) * np.float32(contrast) + mean, 0, 1)
        hsv = cv2.cvtColor(pixels.reshape(-1, clip.shape[2], 3), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + np.float32(360 * hue)) % 360
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(clip.shape)
    if gray < GRAY_PROBABILITY:
        pixels = np.repeat((pixels @ LUMA)[..., None], 3, axis=-1)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
