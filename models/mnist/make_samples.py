"""Draw the digits in samples/: curves with a round pen, as five people with five pens would write them.

    python3 models/mnist/make_samples.py        (PyPI: pillow, numpy)

None is from MNIST. The strokes below are control points in a box of 1 x 1, with y pointing down.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).parent / "samples"
SIZE = 112
SCALE = 8  # supersampling, for antialiased edges

THREE = [[(0.12, 0.14), (0.45, -0.06), (0.95, 0.12), (0.78, 0.42), (0.4, 0.47)],
         [(0.4, 0.47), (0.95, 0.5), (0.98, 0.95), (0.5, 1.04), (0.06, 0.86)]]
FOUR = [[(0.42, 0), (0.3, 0.3), (0.05, 0.64)], [(0.05, 0.64), (0.5, 0.61), (0.98, 0.62)],
        [(0.72, 0.3), (0.7, 0.6), (0.66, 1.04)]]
FIVE = [[(0.9, 0), (0.6, 0.03), (0.28, 0.02)], [(0.28, 0.02), (0.22, 0.25), (0.18, 0.46)],
        [(0.18, 0.46), (0.6, 0.3), (0.98, 0.62), (0.72, 1.02), (0.35, 1.0), (0.08, 0.86)]]
SEVEN = [[(0.08, 0.06), (0.5, 0.02), (0.94, 0.03)], [(0.94, 0.03), (0.68, 0.4), (0.5, 0.7), (0.4, 1.02)],
         [(0.34, 0.5), (0.6, 0.49), (0.84, 0.46)]]
EIGHT = [[(0.86, 0.14), (0.5, -0.05), (0.12, 0.18), (0.5, 0.48), (0.9, 0.76), (0.5, 1.05), (0.1, 0.8), (0.5, 0.47),
          (0.84, 0.26), (0.86, 0.14)]]

# name, strokes, width of the pen (share of the side), height of the digit, slant, paper, ink, grain of both in levels
DIGITS = [("3-marker", THREE, 0.1, 0.62, 0.02, (250, 249, 245), (28, 30, 36), 0),
          ("4-chalk", FOUR, 0.06, 0.6, 0.04, (38, 66, 56), (228, 232, 226), 8),
          ("5-screen", FIVE, 0.085, 0.58, 0.12, (0, 0, 0), (255, 255, 255), 0),
          ("7-ballpoint", SEVEN, 0.045, 0.6, 0.08, (253, 251, 242), (38, 62, 158), 0),
          ("8-pencil", EIGHT, 0.055, 0.6, 0.1, (238, 236, 230), (92, 92, 96), 4)]


def smooth(points, steps=24):
    """Points on the Catmull-Rom curve through the given ones."""
    p = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, steps)[:, None]
    curve = [0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
             for a, b, c, d in zip(p, p[1:], p[2:], p[3:])]
    return np.concatenate(curve)


def draw(strokes, width, height, slant):
    """The share of ink in each pixel, 0 to 255."""
    side = SIZE * SCALE
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    radius = width * side / 2
    for stroke in strokes:
        x, y = smooth(stroke).T
        x, y = 0.5 + (x - 0.5) * height * 0.66 + slant * (0.5 - y), 0.5 + (y - 0.5) * height
        # a pen presses harder in the middle of a stroke
        press = 0.85 + 0.15 * np.sin(np.linspace(0, np.pi, len(x)))
        dense = np.linspace(0, len(x) - 1, 20 * len(x))
        for px, py, r in zip(*(np.interp(dense, np.arange(len(x)), v) for v in (x * side, y * side, radius * press))):
            pen.ellipse((px - r, py - r, px + r, py + r), fill=255)
    return mask.resize((SIZE, SIZE), Image.Resampling.BOX)


def main():
    random = np.random.default_rng(1)
    HERE.mkdir(exist_ok=True)
    for name, strokes, width, height, slant, paper, ink, grain in DIGITS:
        mask = draw(strokes, width, height, slant).filter(ImageFilter.GaussianBlur(0.4))
        share = np.asarray(mask, np.float64)[..., None] / 255
        noise = random.normal(0, grain, (SIZE, SIZE, 1)) if grain else 0
        pixels = np.float64(paper) * (1 - share) + np.float64(ink) * share + noise
        image = Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))
        image.quantize(12, dither=Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
