"""Whether posteriors are calibrated: the ranks of the truths among their draws, and coverage."""
