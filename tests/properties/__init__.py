"""Properties of random networks and random plans."""
