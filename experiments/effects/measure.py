"""How pictures of one figure differ: turned, moved, sized, slanted, widened or faded, each in its own unit.

All are measured together, by registration: a template is turned, moved, sized, slanted, stretched, widened and faded
until its squared difference from the picture is least, coarsely first (after Lucas and Kanade, "An iterative image
registration technique with an application to stereo vision", IJCAI 1981; here by Levenberg and Marquardt's method).
Moments would be quicker, but the third ones, which tell a rotation from a shear, hang on details of the figure.
"""

import numpy as np
from scipy import ndimage, optimize

from .apply import Outline, leaning, stroke_width, turning

QUANTITIES = ("rotation", "shift", "shift_y", "scale", "shear", "thickness", "brightness")
UNITS = {
    "rotation": "degrees counter-clockwise",
    "shift": "pixels to the right",
    "shift_y": "pixels downwards",
    "scale": "times the size",
    "shear": "pixels to the right per pixel upwards",
    "thickness": "pixels of stroke width",
    "brightness": "darkness of the ink",
}
BLURS = (2.0, 1.0)  # pixels: coarse to fine
# Usual sizes of angle (radians), shear, logarithms of size and elongation, pixels right, down and wider, darkness.
USUAL = np.array([0.2, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 0.3])
RESTRAINT = 0.3  # cost of a usual change, as a distance between pictures: keeps those apart that look almost the same


class Template:
    """A picture that others of the same figure are measured against.

    Args:
        image: H x W, 0 paper to 1 ink.
    """

    def __init__(self, image: np.ndarray) -> None:
        self._outline = Outline(image)
        self._centre = (np.array(image.shape) - 1) / 2
        unchanged = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._outline.ink])
        # What an outline draws is not quite the picture it was taken from: that difference counts as no change.
        self._zero = self._fitted(image, unchanged)

    def measure(self, images: np.ndarray, *, chained: bool = False) -> dict[str, np.ndarray]:
        """Each of QUANTITIES, float64, N, in UNITS.

        The width of the strokes is what it would be at the template's size.

        Args:
            images: N x H x W, 0 paper to 1 ink.
            chained: each picture differs little from the one before, and the first little from the template: the
                search begins where the last one ended, so that a figure can be followed far.
        """
        fits, start = np.empty((len(images), len(USUAL))), self._zero
        for fit, image in zip(fits, images, strict=True):
            fit[:] = self._fitted(image, start)
            start = fit if chained else start
        angle, shear, size, _, right, down, _, _ = (fits - self._zero).T
        return {
            "rotation": np.degrees(angle),
            "shift": right,
            "shift_y": down,
            "scale": np.exp(size),
            "shear": shear,
            "thickness": np.array([stroke_width(image) for image in images]) / np.exp(size),
            "brightness": np.array([Outline(image).ink for image in images]),
        }

    def _fitted(self, image: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The parameters that make the template most like the image."""
        fit = start
        for blur in BLURS:
            target = ndimage.gaussian_filter(image, blur)

            def difference(at: np.ndarray, blur: float = blur, target: np.ndarray = target) -> np.ndarray:
                return np.append(self._drawn(at, blur) - target, RESTRAINT * (at - start) / USUAL)

            fit = optimize.least_squares(
                difference, fit, method="lm", x_scale=USUAL, diff_step=1e-3, ftol=1e-4, xtol=1e-4, max_nfev=200
            ).x
        return fit

    def _drawn(self, parameters: np.ndarray, blur: float) -> np.ndarray:
        """The template under eight changes: widened, then stretched, sheared, turned and moved."""
        angle, shear, size, elongation, right, down, wider, darkness = parameters
        picture = ndimage.gaussian_filter(self._outline.drawn(wider), blur)
        stretch = np.exp(np.clip([size - elongation, size + elongation], -2.0, 2.0))
        inverse = np.linalg.inv(turning(np.degrees(angle)) @ leaning(shear) * stretch)
        offset = self._centre - inverse @ (self._centre + np.array([down, right]))
        return darkness * ndimage.affine_transform(picture, inverse, offset, order=1)
