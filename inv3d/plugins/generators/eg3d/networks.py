"""The networks that NVIDIA and LPFF's authors published, as the generator `eg3d` knows them."""

from __future__ import annotations

from inv3d.core.weights.known import WeightFile

PAGE = "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/eg3d"
_FILES = "https://api.ngc.nvidia.com/v2/models/org/nvidia/team/research/eg3d/1/files"
_LPFF = "https://github.com/oneThousand1000/LPFF-dataset"
_WITHOUT = "generator minihead is embedded and needs no file"


def _network(name: str, purpose: str, *fits: str) -> WeightFile:
    """Describe a file; nobody has published sizes or checksums of these."""
    return WeightFile(
        name=name,
        purpose=purpose,
        licence="NVIDIA Source Code License (non-commercial)",
        page=PAGE,
        url=f"{_FILES}?redirect=true&path={name}",
        noncommercial=True,
        fits=fits,
        without=_WITHOUT,
    )


NETWORKS = (
    _network(
        "ffhqrebalanced512-128.pkl",
        "faces, all angles alike, 512 px, 128 rays",
        "eg3d-ffhq-rebalanced",
        "eg3d-ffhq",
    ),
    _network(
        "ffhqrebalanced512-64.pkl",
        "faces, all angles alike, 512 px, 64 rays",
        "eg3d-ffhq-rebalanced",
        "eg3d-ffhq",
    ),
    _network("ffhq512-128.pkl", "faces, 512 px, 128 rays", "eg3d-ffhq"),
    _network("afhqcats512-128.pkl", "cat faces, 512 px, 128 rays", "eg3d-afhq"),
    _network("shapenetcars128-64.pkl", "cars, 128 px, 64 rays", "eg3d-shapenet"),
    WeightFile(
        name="var3-128.pkl",
        purpose="faces up to profile (FFHQ and LPFF), 512 px, 128 rays",
        licence="see its page",
        page=_LPFF,
        noncommercial=True,
        fits=("eg3d-lpff",),
        without=_WITHOUT,
    ),
)
