"""From the results of a campaign to its numbers, verdict, plots and report."""
