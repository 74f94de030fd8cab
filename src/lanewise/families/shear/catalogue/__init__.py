"""catalogue.parquet: a row for each object, or for each galaxy of a population."""
