"""Families of campaigns: a folder each."""
