"""Searching for the plan whose network is best: what a candidate is, how it is judged, and which ones come next."""
