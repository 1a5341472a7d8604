"""Detectors: from the maps of a network to boxes, the loss to train it, and how good its boxes are."""
