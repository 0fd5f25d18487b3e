"""Scores: word errors, divergence of posteriors, and confidence intervals."""
