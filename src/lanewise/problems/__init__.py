"""The models of the families as functions, under the names that the documents promise."""
