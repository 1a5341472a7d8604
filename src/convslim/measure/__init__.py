"""How big, how fast, how equal: MACs and parameters as functions of the kept channels, latency, parity."""
