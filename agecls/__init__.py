"""Hierarchical age-bin classification of faces with leakage-safe splits."""

__version__ = "0.1.0"
