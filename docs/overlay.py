"""Draws a sequence's frames, true masks and predicted masks at its start, middle and end, as one PNG.

    rvm-bench data demo --task davis --out demo-data
    rvm-bench run --model pixels --task davis --data demo-data --save-predictions predictions
    python docs/overlay.py --data demo-data/DAVIS --predictions predictions/davis/pixels --sequence demo-walkers \
        --out docs/propagation.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# Okabe and Ito's colours, which colour-blind readers can tell apart; index 0 is the background.
COLOURS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [204, 121, 167], [213, 94, 0]], np.uint8)
WIDTH_PX = 360


def overlay(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The frame with every object tinted in its colour and outlined in white."""
    tint = COLOURS[np.where(mask > 0, 1 + (mask.astype(int) - 1) % (len(COLOURS) - 1), 0)]
    inside = (mask > 0)[..., None]
    mixed = np.where(inside, (0.4 * frame + 0.6 * tint).astype(np.uint8), frame)
    edge = np.zeros(mask.shape, bool)
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    mixed[edge] = 255
    return mixed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "predictions", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--sequence", required=True)
    options = parser.parse_args()

    files = sorted((options.data / "JPEGImages/480p" / options.sequence).glob("*.jpg"))
    rows: dict[str, list[np.ndarray]] = {"frame": [], "truth": [], "prediction": []}
    chosen = [files[0], files[len(files) // 2], files[-1]]
    for file in chosen:
        frame = np.asarray(Image.open(file).convert("RGB"))
        truth = np.asarray(Image.open(options.data / "Annotations/480p" / options.sequence / f"{file.stem}.png"))
        prediction = np.asarray(Image.open(options.predictions / options.sequence / f"{file.stem}.png"))
        rows["frame"].append(frame)
        rows["truth"].append(overlay(frame, truth))
        rows["prediction"].append(overlay(frame, prediction))

    height_px = round(WIDTH_PX * rows["frame"][0].shape[0] / rows["frame"][0].shape[1])
    picture = Image.new("RGB", (3 * WIDTH_PX, 3 * height_px))
    draw = ImageDraw.Draw(picture)
    for y, (label, images) in enumerate(rows.items()):
        for x, (image, file) in enumerate(zip(images, chosen, strict=True)):
            corner = (x * WIDTH_PX, y * height_px)
            picture.paste(Image.fromarray(image).resize((WIDTH_PX, height_px), Image.Resampling.LANCZOS), corner)
            draw.text(
                (corner[0] + 6, corner[1] + 4),
                f"{label}, frame {int(file.stem)}",
                "white",
                stroke_width=2,
                stroke_fill="black",
            )
    picture.save(options.out, optimize=True)


if __name__ == "__main__":
    main()
