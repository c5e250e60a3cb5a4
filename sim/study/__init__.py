"""Whole experiments over the simulator: the run that `bitloom run` makes, its report, and sweeps over designs."""
