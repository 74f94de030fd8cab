"""Calibration: truths from the priors, and whether the posteriors hold them as often as they say."""
