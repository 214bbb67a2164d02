"""Evaluation: scores, thresholds, reports and plots."""
