"""convslim: channel pruning for convolutional networks in PyTorch, with proofs."""

__version__ = "0.1.0"
