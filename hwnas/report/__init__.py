"""Runs as one page that a person decides by, and two runs beside each other."""
