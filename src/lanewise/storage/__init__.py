"""Storage: everything that is written and read, and what makes a chunk done."""
