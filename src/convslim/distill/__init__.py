"""Guidance by a trained network: losses on class scores and on feature maps."""

from convslim.distill.config import DistillConfig, LossConfig, TeacherConfig
from convslim.distill.guidance import Guidance, guidance_loss, guide
from convslim.distill.positions import Position, stage_ends
from convslim.distill.views import GuidanceLoss, Views

__all__ = [
    "DistillConfig",
    "Guidance",
    "GuidanceLoss",
    "LossConfig",
    "Position",
    "TeacherConfig",
    "Views",
    "guidance_loss",
    "guide",
    "stage_ends",
]
