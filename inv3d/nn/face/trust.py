"""Whether landmarks can be true: the network draws a face over anything, and is sure of it."""

from __future__ import annotations

import math

from inv3d.nn.face.detector import Detection
from inv3d.nn.face.landmarks import Landmarks
from inv3d.nn.face.model import HeadPose

# measured on rendered heads: where the network is less sure, yaws of 45 to 62 degrees are off by 11
# on the average; nearer to the front it's always surer
LEAST_PRESENCE = 0.7
MOST_ERROR = 0.2
# measured on rendered heads: true landmarks stay below 0.1, false ones mostly lie above
MOST_DISAGREEMENT = 0.11
MOST_APART_DEG = 32.0
# from there on a face is called a profile
PROFILE_DEG = 60.0
LEAST_SIDE = 20.0
TOO_SMALL = "too small"


def doubt(found: Landmarks, pose: HeadPose, detection: Detection) -> str:
    """Return why a face can't be used; "" where it can.

    Args:
        found: its landmarks.
        pose: of the mean face that was fitted to them.
        detection: of the same face.
    """
    if detection.square.side < LEAST_SIDE:
        return f"{TOO_SMALL}: the face is only {detection.square.side:.0f} pixels wide"
    apart = math.degrees(abs(pose.rough_yaw - pose.uncorrected_yaw))
    false = (
        pose.disagreement > MOST_DISAGREEMENT
        or pose.error > MOST_ERROR
        or found.presence < LEAST_PRESENCE
        or apart > MOST_APART_DEG
    )
    if not false:
        return ""
    rough = math.degrees(pose.rough_yaw)
    if abs(rough) > PROFILE_DEG:
        return f"a profile (about {rough:+.0f} degrees), whose landmarks are false"
    return (
        "the landmarks are false: a face put over them has its eyes, nose and mouth "
        f"{100 * pose.disagreement:.0f} % of its width from where the detector sees them"
    )
