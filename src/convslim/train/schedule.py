"""The learning rate as a function of time."""

from __future__ import annotations

import math

from convslim.train.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Learning rate at a moment of training.

    With w = `warmup_epochs`, E = `epochs` and peak η:

    - warm-up, t < w:  η·(t + ε)/w, ε keeping the first step above zero
    - cosine:          η_final + ½(η − η_final)(1 + cos π·(t − w)/(E − w))
    - steps:           η·step_factor^(milestones at or before t)
    - constant:        η

    Args:
        epoch: time t in epochs, fractional inside an epoch.

    >>> config = TrainConfig(epochs=10, lr=0.1, warmup_epochs=2)
    >>> [round(learning_rate(config, t), 3) for t in (0, 1, 2, 6, 10)]
    [0.001, 0.05, 0.1, 0.05, 0.0]

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
        Goyal et al., "Accurate, Large Minibatch SGD", 2017 (warm-up).
    """
    if epoch < config.warmup_epochs:
        return config.lr * max(epoch / config.warmup_epochs, 0.01)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "steps":
        return config.lr * config.step_factor ** sum(milestone <= epoch for milestone in config.milestones)
    length = max(config.epochs - config.warmup_epochs, 1e-9)
    progress = min((epoch - config.warmup_epochs) / length, 1.0)
    return config.final_lr + 0.5 * (config.lr - config.final_lr) * (1 + math.cos(math.pi * progress))
