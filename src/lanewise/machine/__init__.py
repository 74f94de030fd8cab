"""This machine: device, cores, signals, versions, progress."""
