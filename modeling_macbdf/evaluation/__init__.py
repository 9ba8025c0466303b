"""Metrics, calibration and the scoring of a dataset."""
