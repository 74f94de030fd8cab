"""The jobs that run a campaign on a cluster, as text. Nothing is submitted."""
