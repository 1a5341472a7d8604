"""Closed-form reconstruction: from a cut network to one that follows the original, without labels or training."""

from convslim.surgery.reconstruction.reconstruct import FittedLayer, Reconstruction, Which, reconstruct_

__all__ = ["FittedLayer", "Reconstruction", "Which", "reconstruct_"]
