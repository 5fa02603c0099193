"""Helpers and fixtures of the tests; no test is in here."""
