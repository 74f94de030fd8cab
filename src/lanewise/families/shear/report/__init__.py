"""The report of a shear campaign, and its plots."""
