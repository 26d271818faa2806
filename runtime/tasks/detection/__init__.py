"""Detectors on the device: suppression, matching, verdict, drawing."""
