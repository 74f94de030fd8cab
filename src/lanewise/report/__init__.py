"""What reports share; no family is known here."""
