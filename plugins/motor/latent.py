"""Latents to setpoints of the head, and its pose to latents."""

import numpy as np

from innervate.runtime.ali.component import Decoder, Encoder, Sample
from innervate.runtime.ali.errors import LatentError
from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.space import Floats

AXES = ("pan", "tilt")
POSE = 4  # pan_deg, tilt_deg, pan_deg_s, tilt_deg_s
DELTA_DEG_MAX = 360.0  # a longer turn than any head can make: the latent or the decoder is broken


class PoseEncoder(Encoder):
    """One measured pose, float32 [4] (pan_deg, tilt_deg, pan_deg_s, tilt_deg_s), to one latent [1, D]."""

    def _encode(self, sample: Sample) -> Floats:
        return self.graph.run(sample.data[None, :]).copy()  # [1, D]


class HeadDecoder(Decoder):
    """The newest output latent to a target in degrees for pan and tilt: the pose at capture plus the decoded turn.

    Raises LatentError without a pose (a turn from nowhere has no target), for a turn that is not finite, and for one
    over 360 degrees. Board limits are the actuator's to keep.
    """

    def _decode(self, latents: Latents, feedback: Sample | None) -> dict[str, float]:
        if feedback is None or feedback.data.shape != (POSE,):
            came = "no pose" if feedback is None else f"a pose of shape {list(feedback.data.shape)}"
            raise LatentError(self.source, came, f"the measured pose [{POSE}]", "put the component pose on the board")
        turn = self.graph.run(latents.data[-1:])  # [1, 2] degrees
        targets: dict[str, float] = {}
        for axis, measured, delta in zip(AXES, feedback.data[: len(AXES)], turn[0], strict=True):
            if not np.abs(delta) <= DELTA_DEG_MAX:  # also NaN
                want = f"at most {DELTA_DEG_MAX:g} degrees"
                raise LatentError(f"{self.source}.{axis}", f"a turn of {delta} degrees", want, "check the bundle")
            targets[axis] = float(measured) + float(delta)
        return targets
