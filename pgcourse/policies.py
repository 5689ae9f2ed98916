"""Chapter 2 — policies."""
