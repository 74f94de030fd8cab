"""What is done to a campaign: run, retry, extend, look after."""
