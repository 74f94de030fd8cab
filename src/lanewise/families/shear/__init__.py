"""Weak-lensing shear: galaxies with a known shear are simulated and inferred."""
