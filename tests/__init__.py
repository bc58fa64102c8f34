"""Tests: real Ray, PyAV, torch and MLflow."""
