"""Landlock."""
