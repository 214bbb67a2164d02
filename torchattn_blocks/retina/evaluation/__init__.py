"""Evaluation: scores, thresholds, reports and figures."""
