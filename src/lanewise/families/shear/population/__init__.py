"""Populations: many galaxies that share a shear, each reduced to its likelihood of that shear."""
