"""From the table of a shear campaign to m, c and the verdict."""
