"""EG3D and PanoHead a second time, by explicit formulas: slow, and in double precision.

Nothing here is shared with the package but the state dict and the options, so that options that no
golden case has are compared with something. Convolutions are torch's, each with the weights of one
sample; points are interpolated one plane at a time; rays are composited sample by sample.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera

AXES = {
    "eg3d": ("xy", "xz", "zx"),
    "corrected": ("xy", "xz", "zy"),
    "cyclic": ("xy", "yz", "zx"),
    "panohead": ("xy", "xz", "yz"),
}
SR = {  # input size, doubles in its first block, shrinks larger features, may filter
    "8XDC": (True, True, True),
    "8X": (True, True, True),
    "4X": (False, False, True),
    "2X": (False, True, True),
    "Deepfp32": (False, False, False),
}
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8


class Plain:
    """A network by its state dict and options.

    Args:
        state: of the generator.
        options: its architecture, as `model_dump` gives it.
        noise: of the backbone, "const" or "none".
    """

    def __init__(self, state: dict[str, Tensor], options: dict[str, Any], noise: str) -> None:
        self.s = {n: t.double() for n, t in state.items()}
        self.o = options
        self.noise = noise

    # --- StyleGAN2

    def linear(self, x: Tensor, name: str, lr: float = 1.0) -> Tensor:
        weight = self.s[f"{name}.weight"] * lr / math.sqrt(x.shape[-1])
        return x @ weight.T + self.s[f"{name}.bias"] * lr

    def map(self, z: Tensor, label: Tensor | None, psi: float, cutoff: int, rows: int) -> Tensor:
        start, m = "backbone.mapping", self.o["mapping"]

        def normal(x: Tensor) -> Tensor:
            return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt() if m["normalize_z"] else x

        x = normal(z)
        if self.o["c_dim"]:
            assert label is not None
            label = label * (0 if self.o["c_gen_conditioning_zero"] else self.o["c_scale"])
            x = torch.cat([x, normal(self.linear(label, f"{start}.embed"))], 1)
        for i in range(m["layers"]):
            x = lrelu(self.linear(x, f"{start}.fc{i}", m["lr_multiplier"]))
        mean = self.s[f"{start}.w_avg"]
        return torch.stack([mean + (psi if i < cutoff else 1) * (x - mean) for i in range(rows)], 1)

    def layer(
        self, x: Tensor, w: Tensor, name: str, up: bool, clamp: float | None, noise: str
    ) -> Tensor:
        weight = self.s[f"{name}.weight"]
        styles = self.linear(w, f"{name}.affine")
        made = []
        for one, style in zip(x, styles, strict=True):
            own = weight * style[None, :, None, None]
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            if up:
                wide = one.new_zeros(len(one), 2 * one.shape[1], 2 * one.shape[2])
                wide[:, ::2, ::2] = one
                # the kernel is turned: a convolution of StyleGAN2 that doubles is a transposed one
                full = F.conv2d(wide[None], own.flip(2, 3), padding=2)
                made.append(filtered(full, (1, 1), 4.0)[0][:, : wide.shape[1], : wide.shape[2]])
            else:
                made.append(F.conv2d(one[None], own, padding=1)[0])
        y = torch.stack(made)
        if noise == "const" and f"{name}.noise_const" in self.s:
            y = y + self.s[f"{name}.noise_const"] * self.s[f"{name}.noise_strength"]
        return clamped(lrelu(y + self.s[f"{name}.bias"][:, None, None]), clamp)

    def rgb(self, x: Tensor, w: Tensor, name: str, clamp: float | None) -> Tensor:
        weight = self.s[f"{name}.weight"][..., 0, 0]
        styles = self.linear(w, f"{name}.affine") / math.sqrt(weight.shape[1])
        y = torch.einsum("oi,ni,nihw->nohw", weight, styles, x)
        return clamped(y + self.s[f"{name}.bias"][:, None, None], clamp)

    def synthesis(self, ws: Tensor, start: str) -> Tensor:
        clamp, image, size, row = self.o["conv_clamp"], None, 4, 0
        x = self.s[f"{start}.b4.const"].expand(len(ws), -1, -1, -1)
        while f"{start}.b{size}.conv1.weight" in self.s:
            block = f"{start}.b{size}"
            if size > 4:
                x = self.layer(x, ws[:, row], f"{block}.conv0", True, clamp, self.noise)
                row += 1
            x = self.layer(x, ws[:, row], f"{block}.conv1", False, clamp, self.noise)
            row += 1
            y = self.rgb(x, ws[:, row], f"{block}.torgb", clamp)
            image = y if image is None else doubled(image) + y
            size *= 2
        assert image is not None
        return image

    # --- the volume

    def points(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """planes [3, C, D, R, R], points [P, 3] to raw density [P] and features [P, C]."""
        total = torch.zeros(len(points), planes.shape[1], dtype=torch.float64)
        size, depth = planes.shape[-1], planes.shape[2]
        scaled = points * 2 / self.o["rendering"]["box_warp"]
        for plane, axes in zip(planes, AXES[self.o["plane_axes"]], strict=True):
            u, v = (scaled[:, "xyz".index(axis)] for axis in axes)
            third = scaled[:, 3 - "xyz".index(axes[0]) - "xyz".index(axes[1])]
            places = [((u + 1) * size - 1) / 2, ((v + 1) * size - 1) / 2]
            grid = self.o.get("plane_depth")
            places.append(((third + 1) * depth - 1) / 2 if grid else torch.zeros_like(u))
            for corner in range(8 if grid else 4):
                steps = [corner & 1, corner >> 1 & 1, corner >> 2 & 1]
                at = [p.floor() + s for p, s in zip(places, steps, strict=True)]
                share = torch.ones_like(u)
                known = torch.ones_like(u, dtype=torch.bool)
                for p, a, n in zip(places, at, (size, size, depth), strict=True):
                    share = share * (1 - (p - a).abs())
                    known &= (a >= 0) & (a < n)
                x, y, z = (
                    a.clamp(0, n - 1).long() for a, n in zip(at, (size, size, depth), strict=True)
                )
                total += (share * known)[:, None] * plane[:, z, y, x].T
        hidden = F.softplus(
            self.linear(total / 3, "decoder.net.0", self.o["decoder_lr_mul"]), threshold=1e9
        )
        made = self.linear(hidden, "decoder.net.2", self.o["decoder_lr_mul"])
        raw, colours = made[:, 0], made[:, 1:]
        activation = self.o.get("decoder_activation", "sigmoid")
        if activation == "sigmoid":
            colours = colours.sigmoid() * 1.002 - 0.001
        if activation == "lrelu":
            colours = lrelu(colours) - 0.5
        crop = self.o["rendering"].get("crop")
        if crop is not None:
            limit = self.o["rendering"]["box_warp"] / 2 - crop
            raw = raw.masked_fill((points[:, [0, 2]].abs() > limit).any(1), -1000.0)
        return raw, colours

    def rays(self, camera: Camera, size: int) -> tuple[Tensor, Tensor]:
        """Origins and directions [N, size * size, 3] by the inverse intrinsics."""
        centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        v, u = torch.meshgrid(centres, centres, indexing="ij")
        uv = torch.stack([u, v, torch.ones_like(u)], -1).reshape(-1, 3)
        k, c2w = camera.intrinsics.double(), camera.cam2world.double()
        d = torch.einsum("nij,njk,pk->npi", c2w[:, :3, :3], torch.linalg.inv(k), uv)
        return c2w[:, None, :3, 3].expand_as(d), d / d.norm(dim=-1, keepdim=True)

    def limits(self, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """[N, R] each."""
        r = self.o["rendering"]
        if r["ray_start"] != "auto":
            return torch.full(o.shape[:2], r["ray_start"]), torch.full(o.shape[:2], r["ray_end"])
        ends = torch.stack([(side * r["box_warp"] / 2 - o) / d for side in (-1, 1)])
        near, far = ends.amin(0).amax(-1), ends.amax(0).amin(-1)
        hit = far > near
        for part in [slice(None)] if r["auto_over"] == "batch" else range(len(o)):
            seen = near[part][hit[part]]
            least = seen.min() if len(seen) else torch.zeros(())
            most = seen.max() if len(seen) else torch.zeros(())
            near[part] = torch.where(hit[part], near[part], least.double())
            far[part] = torch.where(hit[part], far[part], most.double())
        return near, far

    def march(self, planes: Tensor, o: Tensor, d: Tensor, near: float, far: float) -> list[Tensor]:
        """One ray: features, depth, opacity."""
        r = self.o["rendering"]
        count, fine = r["depth_resolution"], r["depth_resolution_importance"]
        t = (torch.arange(count, dtype=torch.float64) + 0.5) / (count - 1)
        depths = near + (far - near) * t
        if r["disparity_space_sampling"]:
            depths = 1 / ((1 - t) / near + t / far)
        raw, colours = self.points(planes, o + depths[:, None] * d)
        if fine:
            weights, _ = self.weights(raw.detach(), depths)
            more = self.importance(depths, weights, fine)
            raw2, colours2 = self.points(planes, o + more[:, None] * d)
            depths, order = torch.cat([depths, more]).sort()
            raw, colours = torch.cat([raw, raw2])[order], torch.cat([colours, colours2])[order]
        weights, opacity = self.weights(raw, depths)
        seen = (weights[:, None] * (colours[1:] + colours[:-1]) / 2).sum(0)
        depth = (weights * (depths[1:] + depths[:-1]) / 2).sum() / opacity
        if r["white_back"]:
            seen = seen + 1 - opacity
        return [seen, depth, opacity]

    def weights(self, raw: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
        passed, found = torch.ones((), dtype=torch.float64), []
        for i in range(len(raw) - 1):
            density = F.softplus((raw[i] + raw[i + 1]) / 2 - 1, threshold=1e9)
            alpha = 1 - torch.exp(-density * (depths[i + 1] - depths[i]))
            found.append(alpha * passed)
            passed = passed * (1 - alpha)
        weights = torch.stack(found)
        return weights, weights.sum()

    def importance(self, depths: Tensor, weights: Tensor, count: int) -> Tensor:
        """EG3D's: a maximum of neighbours, a mean of neighbours, a little more, inverted."""
        n = len(weights)
        high = [
            max(float(weights[i - 1]) if i else 0.0, float(weights[i]) if i < n else 0.0)
            for i in range(n + 1)
        ]
        smooth = [(high[i] + high[i + 1]) / 2 + 0.01 for i in range(n)]
        bins = (depths[1:] + depths[:-1]) / 2
        inner = torch.tensor(smooth[1:-1], dtype=torch.float64) + 1e-5
        cdf = torch.cat([torch.zeros(1).double(), (inner / inner.sum()).cumsum(0)])
        found = []
        for u in torch.linspace(0, 1, count, dtype=torch.float64).tolist():
            above = int((cdf <= u).sum())
            below, above = max(above - 1, 0), min(above, len(inner))
            width = float(cdf[above] - cdf[below])
            width = 1.0 if width < 1e-5 else width
            found.append(bins[below] + (u - cdf[below]) / width * (bins[above] - bins[below]))
        return torch.stack(found)

    # --- pictures

    def render(self, ws: Tensor, camera: Camera, size: int) -> dict[str, Tensor]:
        """One camera a latent."""
        planes = self.synthesis(ws, "backbone.synthesis")
        side = planes.shape[-1]
        planes = planes.reshape(len(ws), 3, self.o["plane_channels"], -1, side, side)
        o, d = self.rays(camera, size)
        near, far = self.limits(o, d)
        found = [
            [
                torch.stack(part)
                for part in zip(
                    *(
                        self.march(planes[n], o[n, i], d[n, i], float(near[n, i]), float(far[n, i]))
                        for i in range(size * size)
                    ),
                    strict=True,
                )
            ]
            for n in range(len(ws))
        ]
        features, depth, mask = (torch.stack(part) for part in zip(*found, strict=True))
        features = features.transpose(1, 2).reshape(len(ws), -1, size, size)
        depth, mask = (t.reshape(len(ws), 1, size, size) for t in (depth, mask))
        if self.o.get("decoder_activation", "sigmoid") == "sigmoid":
            features = features * 2 - 1
        if self.o.get("background"):
            rows = sum(n.endswith("affine.weight") for n in self.s if n.startswith("bcg_synthesis"))
            own = ws[:, :rows]
            missing = ws[:, -1:].expand(-1, max(0, rows - ws.shape[1]), -1)
            behind = self.synthesis(torch.cat([own, missing], 1), "bcg_synthesis")
            features = features + (1 - mask) * self.resized(behind, size)
        w = ws[:, -1]
        raw = self.rgb(features, w, "torgb", None) if self.o.get("torgb_raw") else features[:, :3]
        image = self.superresolved(features, raw, w)
        return {"features": features, "raw": raw, "depth": depth, "mask": mask, "image": image}

    def resized(self, x: Tensor, size: int, filters: bool = True) -> Tensor:
        if x.shape[-1] == size:
            return x
        filters = filters and self.o["superresolution"]["antialias"] and size < x.shape[-1]
        weights = bilinear_weights(x.shape[-1], size, filters)
        return weights @ x @ weights.T

    def superresolved(self, features: Tensor, raw: Tensor, w: Tensor) -> Tensor:
        s = self.o["superresolution"]
        doubles, shrinks, filters = SR[s["module"]]
        size = self.o["img_resolution"] // (4 if doubles else 2)
        x, image = features, raw
        if features.shape[-1] < size or shrinks:
            x, image = (self.resized(t, size, filters) for t in (x, image))
        clamp = 256.0 if s["num_fp16_res"] else None
        for block, up in (("superresolution.block0", doubles), ("superresolution.block1", True)):
            x = self.layer(x, w, f"{block}.conv0", up, clamp, s["noise_mode"])
            x = self.layer(x, w, f"{block}.conv1", False, clamp, s["noise_mode"])
            image = (doubled(image) if up else image) + self.rgb(x, w, f"{block}.torgb", clamp)
        return image


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.2 * x, x) * math.sqrt(2)


def clamped(x: Tensor, clamp: float | None) -> Tensor:
    return x if clamp is None else x.clamp(-clamp, clamp)


def filtered(x: Tensor, pad: tuple[int, int], gain: float) -> Tensor:
    """Convolve [N, C, h, w] with the filter [1, 3, 3, 1] along both axes."""
    kernel = (TAPS[:, None] * TAPS * gain)[None, None].expand(x.shape[1], -1, -1, -1)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """An image of twice the size: zeros between pixels, then the filter."""
    wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    wide[..., ::2, ::2] = x
    return filtered(wide, (2, 1), 4.0)


def bilinear_weights(before: int, after: int, filters: bool) -> Tensor:
    """[after, before]: what each pixel of a row counts in a row of another size."""
    scale = before / after
    reach = max(1.0, scale) if filters else 1.0
    rows = torch.zeros(after, before, dtype=torch.float64)
    for i in range(after):
        middle = (i + 0.5) * scale - 0.5
        if not filters:
            middle = min(max(middle, 0.0), before - 1.0)
        for k in range(before):
            rows[i, k] = max(0.0, 1 - abs(k - middle) / reach)
    return rows / rows.sum(1, keepdim=True)
