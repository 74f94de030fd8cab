"""The engine: realizations as lanes of compiled programs, and what their draws are worth."""
