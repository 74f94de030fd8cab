"""Kind `model`: a NumPyro model of the user over a table of data sets."""
