"""Design of a study: what is fixed before the test split is read, and its power."""
