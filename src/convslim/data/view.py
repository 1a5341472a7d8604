"""One homography from an image to the network's input, and what it does to boxes.

A view is a (3, 3) matrix V that takes homogeneous source pixels (x, y, 1) to target pixels up to scale. Crops, flips,
perspective and scaling are composed into one before any pixel is touched, so that an image is resampled once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from convslim.data.objects import Objects

Matrix = npt.NDArray[np.float64]
GRAY = 114  # the border around images that are not square, as detectors of this family are trained with


def scaling(x: float, y: float) -> Matrix:
    """``(x, y) -> (x * sx, y * sy)``."""
    return np.diag([x, y, 1.0])


def shift(x: float, y: float) -> Matrix:
    """``(x, y) -> (x + dx, y + dy)``."""
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix


def mirror(width: float) -> Matrix:
    """Left becomes right in an image of this width."""
    return shift(width, 0) @ scaling(-1, 1)


def letterbox(width: float, height: float, side: int) -> Matrix:
    """The whole image in the middle of a square, as large as fits.

    >>> letterbox(20, 10, 40)
    array([[ 2.,  0.,  0.],
           [ 0.,  2., 10.],
           [ 0.,  0.,  1.]])
    """
    scale = side / max(width, height)
    return shift((side - scale * width) / 2, (side - scale * height) / 2) @ scaling(scale, scale)


def quadrilateral(source: npt.ArrayLike, target: npt.ArrayLike) -> Matrix:
    """The view that takes four points to four points, each (4, 2)."""
    rows, values = [], []
    for (x, y), (u, v) in zip(np.asarray(source, float), np.asarray(target, float), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def warp(image: Image.Image, view: Matrix, side: int) -> npt.NDArray[np.uint8]:
    """The view of an RGB image, uint8 (side, side, 3); gray where it shows nothing."""
    # Bilinear sampling skips pixels when it shrinks; whole blocks are averaged first.
    shrink = max(int(1 / max(abs(np.linalg.det(view[:2, :2])) ** 0.5, 1e-6)), 1)
    if shrink > 1:
        sizes = image.size
        image = image.reduce(shrink)
        view = view @ scaling(sizes[0] / image.size[0], sizes[1] / image.size[1])
    back = np.linalg.inv(view)
    coefficients = (back / back[2, 2]).flatten()[:8]
    turned = image.transform(
        (side, side), Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BILINEAR, fillcolor=(GRAY,) * 3
    )
    return np.array(turned, dtype=np.uint8)


def view_boxes(boxes: Tensor, view: Matrix) -> Tensor:
    """The smallest upright boxes around the views of these boxes, (n, 4)."""
    corners = boxes.double().numpy()[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 4, 2)
    points = np.concatenate([corners, np.ones((len(corners), 4, 1))], 2) @ view.T
    flat = points[..., :2] / points[..., 2:]
    return torch.from_numpy(np.concatenate([flat.min(1), flat.max(1)], 1)).float().reshape(-1, 4)


def view_objects(objects: Objects, view: Matrix, side: int, visible: float = 0.25, smallest: float = 2.0) -> Objects:
    """The objects that a view shows.

    Args:
        objects: In the source.
        view: To the target.
        side: Height and width of the target in pixels.
        visible: Objects of which a smaller share of the area lies inside are left out.
        smallest: So are those that are narrower or lower in pixels.
    """
    whole = view_boxes(objects.boxes, view)
    inside = whole.clamp(0, side)
    extent, full = inside[:, 2:] - inside[:, :2], whole[:, 2:] - whole[:, :2]
    stays = (extent >= smallest).all(1) & (extent.prod(1) >= visible * full.prod(1))
    return Objects(inside[stays], objects.labels[stays], objects.difficult[stays], objects.weights[stays])
