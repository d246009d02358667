"""The experiments behind the committed results, one module a chapter: plain functions that a sweep calls."""
