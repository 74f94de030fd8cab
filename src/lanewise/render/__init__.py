"""The jobs that carry a campaign out on somebody's cluster, as text to read, keep and submit."""
