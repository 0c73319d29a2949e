"""Own how a face is drawn from its attributes: every part of it, back to front.

Shapes: B faces, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

SKIN = ((0.98, 0.86, 0.77), (0.91, 0.73, 0.60), (0.72, 0.51, 0.38), (0.47, 0.31, 0.22))
HAIR_ASH = ((0.09, 0.08, 0.09), (0.34, 0.24, 0.17), (0.66, 0.52, 0.34), (0.91, 0.80, 0.54))
HAIR_RED = ((0.24, 0.07, 0.05), (0.48, 0.15, 0.07), (0.76, 0.33, 0.13), (0.93, 0.53, 0.25))
IRIS = ((0.33, 0.19, 0.10), (0.25, 0.50, 0.25), (0.24, 0.47, 0.80))
LIPS = ((0.78, 0.47, 0.42), (0.78, 0.12, 0.17))
GREY = (0.87, 0.87, 0.89)


class _Canvas:
    """The image being painted, with its coordinates.

    Attributes:
        x, y: sample positions [H, W] or, after `turn`, [B, H, W].
        image: [B, 3, H, W].
    """

    def __init__(self, like: Tensor, side: int) -> None:
        axis = (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * (2 / side) - 1
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")
        self.pixel = 2 / side
        self.image = like.new_zeros(len(like), 3, side, side)

    def color(self, stops: tuple[tuple[float, ...], ...], position: Tensor) -> Tensor:
        """Interpolate colour stops at `position` [B, 1, 1], giving [B, 3]."""
        table = position.new_tensor(stops)
        scaled = position.flatten().clamp(0, 1) * (len(stops) - 1)
        low = scaled.long().clamp(max=len(stops) - 2)
        weight = (scaled - low)[:, None]
        return table[low] * (1 - weight) + table[low + 1] * weight

    def turn(self, angle: Tensor, x: float, y: float) -> None:
        """Turn what is painted next by `angle` radians around a point."""
        dx, dy = self.x - x, self.y - y
        cos, sin = torch.cos(angle), torch.sin(angle)
        self.x, self.y = x + dx * cos + dy * sin, y - dx * sin + dy * cos

    def cover(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Turn signed distances (negative inside) into coverage, `soft` units wide."""
        return (0.5 - distance / (self.pixel + soft)).clamp(0, 1)

    def paint(self, color: Tensor | tuple[float, ...], coverage: Tensor) -> None:
        """Lay a colour, [B, 3] or one for all, over the image where `coverage` [B, H, W] is."""
        if isinstance(color, tuple):
            color = self.image.new_tensor([color])
        color = color[:, :, None, None]
        self.image = self.image + (color - self.image) * coverage[:, None]


def _ellipse(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Return the first-order signed distance to an ellipse at the origin with radii a and b."""
    k = torch.sqrt((x / a) ** 2 + (y / b) ** 2)
    slope = torch.sqrt((x / a**2) ** 2 + (y / b**2) ** 2)
    return k * (k - 1) / (slope + 1e-9)


def _box(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float, r: float) -> Tensor:
    """Return the signed distance to a box at the origin, half sizes a and b, corner radius r."""
    dx, dy = x.abs() - a + r, y.abs() - b + r
    outside = torch.sqrt(dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2)
    return outside + torch.maximum(dx, dy).clamp(max=0) - r


def _arc(x: Tensor, y: Tensor, half: Tensor | float, bend: Tensor | float, width) -> Tensor:
    """Return the signed distance to a stroke along y = bend·((x/half)² − 1), |x| <= half."""
    t = (x / half).clamp(-1, 1)
    slope = 2 * bend * t / half
    dy = (y - bend * (t**2 - 1)) / torch.sqrt(1 + slope**2)
    dx = x - t * half
    return torch.sqrt(dx**2 + dy**2) - width


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    return ((value - low) / (high - low)).clamp(0, 1)


def _mix(low: float, high: float, value: Tensor) -> Tensor:
    return low + (high - low) * value


def _hue(canvas: _Canvas, hue: Tensor, saturation: float, value: Tensor) -> Tensor:
    """Return the colour [B, 3] of a hue from red (0) to magenta (1)."""
    angle = hue.flatten()[:, None] * 5.0 + hue.new_tensor([[5.0, 3.0, 1.0]])
    k = angle % 6
    return value.flatten()[:, None] * (1 - saturation * torch.minimum(k, 4 - k).clamp(0, 1))


def _draw(c: _Canvas, f: dict[str, Tensor]) -> None:
    """Paint every layer, back to front; `f` holds the attributes, each [B, 1, 1]."""
    grey = _ramp(f["age"], 0.2, 0.9)
    lines = _ramp(f["age"], 0.15, 0.9)
    skin = c.color(SKIN, f["skin"])
    shade = skin * 0.62
    hair = torch.lerp(
        c.color(HAIR_ASH, f["hair_tone"]), c.color(HAIR_RED, f["hair_tone"]), f["hair_red"][:, 0]
    )
    hair = torch.lerp(hair, hair.new_tensor([GREY]), grey[:, 0])
    half = _mix(0.41, 0.53, f["face_width"])
    tall = _mix(0.54, 0.63, f["face_length"])

    _background(c, f)
    still_x, still_y = c.x, c.y
    c.turn(_mix(-0.26, 0.26, f["tilt"]), 0.0, 0.55)
    _hair_behind(c, f, hair, half)
    c.paint(shade * 1.15, c.cover(_box(c.x, c.y - 0.62, 0.19, 0.32, 0.05)))
    turned_x, turned_y = c.x, c.y
    c.x, c.y = still_x, still_y
    _shirt(c, f, skin)
    c.x, c.y = turned_x, turned_y
    face = _head(c, f, skin, half, tall)
    _wrinkles(c, f, shade, lines)
    mouth_y = 0.335
    _beard(c, f, hair, face, half, mouth_y)
    _mouth(c, f, shade, mouth_y)
    _nose(c, f, shade)
    _eyes(c, f, hair, skin)
    _glasses(c, f, half)
    _hair_front(c, f, hair, half, face)


def _background(c: _Canvas, f: dict[str, Tensor]) -> None:
    color = _hue(c, f["background_hue"], 0.3, _mix(0.5, 0.93, f["background_tone"]))
    fall = (1.06 - 0.12 * (c.y + 1) / 2)[None]
    c.image = (color[:, :, None, None] * fall[:, None]).clamp(0, 1).expand_as(c.image)


def _hair_behind(c: _Canvas, f: dict[str, Tensor], hair: Tensor, half: Tensor) -> None:
    side = half + _mix(0.05, 0.15, f["hair_volume"])
    end = _mix(-0.05, 0.95, f["hair_length"])
    middle, reach = (end - 0.15) / 2, (end + 0.15) / 2
    fall = _box(c.x, c.y - middle, side * 0.97, reach + 0.02, 0.1)
    cap = _ellipse(c.x, c.y + 0.16, side, _mix(0.56, 0.66, f["hair_volume"]))
    c.paint(hair * 0.8, c.cover(torch.minimum(fall, torch.maximum(cap, c.y - 0.12))))


def _shirt(c: _Canvas, f: dict[str, Tensor], skin: Tensor) -> None:
    color = _hue(c, f["shirt_hue"], 0.62, _mix(0.3, 0.92, f["shirt_tone"]))
    body = _ellipse(c.x, c.y - 1.2, _mix(0.6, 0.95, f["shoulders"]), 0.44)
    c.paint(color, c.cover(body))
    collar = _ellipse(c.x, c.y - 0.78, 0.24, 0.12)
    c.paint(color * 0.8, c.cover(torch.maximum(body, collar - 0.035)))
    c.paint(skin * 0.74, c.cover(torch.maximum(body, collar)))


def _head(c: _Canvas, f: dict[str, Tensor], skin: Tensor, half: Tensor, tall: Tensor) -> Tensor:
    """Paint ears and face; return the face's signed distance."""
    size = _mix(0.07, 0.13, f["ears"])
    for side in (-1, 1):
        ear = _ellipse(c.x - side * (half + size * 0.25), c.y - 0.02, size, size * 1.35)
        c.paint(skin * 0.92, c.cover(ear))
        c.paint(skin * 0.75, c.cover(ear + size * 0.45))
    below = _ramp(c.y, -0.05, 0.62)
    narrow = 1 - _mix(0.30, 0.0, f["jaw"]) * below**1.5
    face = _ellipse(c.x / narrow, c.y - 0.03, half, tall) * narrow
    cover = c.cover(face)
    c.paint(skin, cover)
    light = (0.10 * (c.x / half).clamp(-1, 1) + 0.05 * c.y).clamp(min=0)
    c.paint(skin * 0.55, cover * light * 1.2)
    for side in (-1, 1):
        blush = c.cover(_ellipse(c.x - side * half * 0.62, c.y - 0.16, 0.12, 0.09), soft=0.16)
        c.paint(skin * skin.new_tensor([[1.0, 0.72, 0.68]]), blush * cover * 0.55)
    return face


def _wrinkles(c: _Canvas, f: dict[str, Tensor], shade: Tensor, strength: Tensor) -> None:
    gap = _mix(0.17, 0.24, f["eye_spacing"])
    strokes = [_arc(c.x, c.y + 0.40 - 0.075 * i, 0.24 - 0.02 * i, 0.02, 0.013) for i in range(3)]
    for side in (-1, 1):
        x = c.x * side
        # Folds from the nose to the mouth corners, bags under the eyes, crow's feet.
        fold = _arc(c.y - 0.25, x - 0.20, 0.12, -0.05, 0.015)
        bag = _arc(x - gap, c.y - 0.085, 0.10, -0.04, 0.013)
        feet = [
            _arc(x - gap - 0.185, c.y + 0.05 - 0.055 * i - 0.25 * (i - 1) * (x - gap - 0.185),
                 0.045, 0.0, 0.012)
            for i in range(3)
        ]  # fmt: skip
        strokes += [fold, bag, *feet]
    c.paint(shade, c.cover(torch.stack(strokes).amin(0)) * strength)


def _beard(c, f: dict[str, Tensor], hair: Tensor, face: Tensor, half: Tensor, mouth: float) -> None:
    cheeks = _ellipse(c.x, c.y - 0.02, half * 0.80, 0.27)
    jaw = torch.maximum(torch.maximum(face - 0.02, -cheeks), 0.06 - c.y)
    lip = _arc(c.x, c.y - mouth + 0.10, 0.21, 0.10, 0.032)
    chin = _ellipse(c.x, c.y - mouth - 0.02, 0.22, 0.10)
    below = torch.maximum(torch.maximum(face - 0.02, -chin), mouth - c.y)
    shape = torch.minimum(torch.minimum(jaw, lip), below)
    c.paint(hair * 0.85, c.cover(shape, soft=0.02) * f["beard"])


def _mouth(c: _Canvas, f: dict[str, Tensor], shade: Tensor, mouth: float) -> None:
    smile, gape = f["smile"], f["mouth_open"]
    half = _mix(0.13, 0.19, f["mouth_width"]) + 0.045 * smile
    t = (c.x / half).clamp(-1, 1)
    arch = 1 - t**2
    bend = _mix(-0.05, 0.16, smile)
    middle = mouth - 0.01 + bend * (arch - 0.55)
    lip = _mix(0.022, 0.05, f["lip_fullness"])
    top, bottom = middle - 0.035 * gape * arch, middle + 0.13 * gape * arch
    steep = torch.sqrt(1 + (2 * bend * t / half) ** 2)
    ends = c.x.abs() - half
    upper, lower = top - lip * (0.35 + 0.65 * arch), bottom + lip * (0.35 + 0.8 * arch)
    lips = torch.maximum(torch.maximum(upper - c.y, c.y - lower) / steep, ends)
    color = c.color(LIPS, f["lip_red"]) * (0.45 + 0.55 * shade / shade.amax(1, keepdim=True))
    c.paint(color, c.cover(lips))
    inside = torch.maximum(torch.maximum(top - c.y, c.y - bottom) / steep, ends + 0.012)
    c.paint((0.25, 0.06, 0.07), c.cover(inside) * _ramp(gape, 0.0, 0.12))
    teeth = torch.maximum(inside, (c.y - top - 0.055) / steep)
    c.paint((0.97, 0.96, 0.93), c.cover(teeth) * _ramp(gape, 0.05, 0.25))
    line = torch.maximum((c.y - middle).abs() / steep - 0.008, ends)
    c.paint(color * 0.45, c.cover(line) * (1 - _ramp(gape, 0.0, 0.12)))
    for side in (-1, 1):
        corner = mouth - 0.01 - 0.55 * bend
        dimple = _arc(c.y - corner, c.x * side - half - 0.035, 0.055, -0.03, 0.011)
        c.paint(shade, c.cover(dimple) * _ramp(smile, 0.3, 0.9) * 0.8)


def _nose(c: _Canvas, f: dict[str, Tensor], shade: Tensor) -> None:
    end = _mix(0.11, 0.20, f["nose_length"])
    half = _mix(0.05, 0.105, f["nose_width"])
    bridge = _arc(c.y - end / 2 - 0.01, c.x - half * 0.55, end / 2 + 0.02, -0.02, 0.009)
    c.paint(shade, c.cover(bridge, soft=0.02) * 0.45)
    c.paint(shade, c.cover(_arc(c.x, c.y - end, half, -0.035, 0.016)))


def _eyes(c: _Canvas, f: dict[str, Tensor], hair: Tensor, skin: Tensor) -> None:
    gap = _mix(0.17, 0.24, f["eye_spacing"])
    size = _mix(0.062, 0.10, f["eye_size"])
    level = -0.04
    iris = c.color(IRIS, f["eye_color"])
    look = _mix(-0.035, 0.035, f["gaze"])
    for side in (-1, 1):
        x, y = c.x - side * gap, c.y - level
        white = _ellipse(x, y, size * 1.25, size * 0.92)
        c.paint((0.98, 0.98, 0.97), c.cover(white))
        ball = _ellipse(x - look, y, size * 0.66, size * 0.66)
        c.paint(iris, c.cover(torch.maximum(ball, white)))
        c.paint((0.05, 0.04, 0.05), c.cover(_ellipse(x - look, y, size * 0.34, size * 0.34)))
        glint = _ellipse(x - look + size * 0.22, y + size * 0.25, size * 0.16, size * 0.16)
        c.paint((1.0, 1.0, 1.0), c.cover(glint))
        lid = torch.maximum(white.abs() - 0.014, y + size * 0.15)
        c.paint((0.12, 0.08, 0.08), c.cover(lid))
        tilt = side * _mix(-0.35, 0.35, f["brow_tilt"])
        brow = _arc(
            x, y + size + 0.085 - tilt * x, 0.12, 0.025, _mix(0.012, 0.036, f["brow_thickness"])
        )
        c.paint(hair * 0.75, c.cover(brow))


def _glasses(c: _Canvas, f: dict[str, Tensor], half: Tensor) -> None:
    gap = _mix(0.17, 0.24, f["eye_spacing"])
    strokes = [_arc(c.x, c.y + 0.06, gap - 0.145, 0.02, 0.016)]
    for side in (-1, 1):
        x, y = c.x * side - gap, c.y + 0.03
        rim = _box(x, y, 0.165, 0.14, 0.11)
        c.paint((0.85, 0.92, 1.0), c.cover(rim) * f["glasses"] * 0.14)
        reach = (half - gap - 0.16) / 2
        arm = _box(x - 0.16 - reach, y + 0.02, reach, 0.016, 0.01)
        strokes += [rim.abs() - 0.019, arm]
    c.paint((0.09, 0.08, 0.11), c.cover(torch.stack(strokes).amin(0)) * f["glasses"])


def _hair_front(c, f: dict[str, Tensor], hair: Tensor, half: Tensor, face: Tensor) -> None:
    side = half + _mix(0.05, 0.15, f["hair_volume"])
    top = _mix(0.56, 0.66, f["hair_volume"])
    cap = _ellipse(c.x, c.y + 0.16, side, top)
    shift = _mix(-0.16, 0.16, f["parting"])
    line = _mix(-0.50, -0.28, f["fringe"])
    opening = _ellipse(c.x - shift * 0.4, c.y - 0.35 + shift * c.x, half * 0.93, 0.35 - line)
    low = _mix(-0.08, 0.40, f["hair_length"])
    front = torch.maximum(torch.maximum(cap, -opening), c.y - low)
    cover = c.cover(front)
    c.paint(hair, cover)
    band = _arc(c.x + 0.12, c.y + 0.56, 0.26, 0.10, 0.028)
    c.paint(hair * 0.6 + 0.4, c.cover(band, soft=0.05) * cover * 0.5)
