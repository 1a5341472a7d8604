"""The parts of a run's report, one a module: each is given the run and gives a section, or none."""
