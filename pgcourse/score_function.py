"""Chapter 3 — score_function."""
