"""Cleaning of a corpus: one module for each step, what counts them, and the report."""
