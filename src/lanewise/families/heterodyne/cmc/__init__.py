"""Sampling of the posterior of one data set, whole or in shards."""
