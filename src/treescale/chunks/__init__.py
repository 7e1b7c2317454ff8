"""Blobs as chunks: splitting, recipes, placement, stores, reading ahead."""
