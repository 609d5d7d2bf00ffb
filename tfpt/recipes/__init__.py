"""Recipes: modules with `config()`, `model()` and `dataset()`. They are the examples to copy."""
