"""Frames to latents."""

import numpy as np
import numpy.typing as npt

from innervate.plugins.camera.settings import SIDE
from innervate.runtime.ali.component import Encoder, Sample
from innervate.runtime.ali.space import Floats

Frame = npt.NDArray[np.uint8]  # [H, W, 3] RGB


def square(frame: Frame) -> Frame:
    """Cut the central square of an RGB frame [H, W, 3] and bring it to [96, 96, 3] by the mean over areas.

    The field of view is that of the frame's shorter side. A frame that fits is returned as it is, with no import of OpenCV.
    """
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = frame[top : top + side, left : left + side]
    if side == SIDE:
        return cut
    import cv2  # late: twins give frames of the right size and do without it

    shrinks = side > SIDE
    scaled = cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(scaled, np.uint8)


class SightEncoder(Encoder):
    """One RGB frame, uint8 [H, W, 3] of any size, to six latents [6, D], the columns of the picture from left to right."""

    def _encode(self, sample: Sample) -> Floats:
        picture = square(sample.data).astype(np.float32) / np.float32(255.0)  # [96, 96, 3]
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1))[None]  # [1, 3, 96, 96]
        return self.graph.run(planes).copy()  # [6, D]
