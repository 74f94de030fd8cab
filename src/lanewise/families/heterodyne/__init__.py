"""Heterodyne XPCS: two-time correlations of two interfering components are simulated, read and fitted."""
