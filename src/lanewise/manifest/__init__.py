"""The manifest: read, checked, planned; and the protocols that families and methods follow. No JAX, no GalSim."""
