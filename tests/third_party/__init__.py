"""Distributions of third parties: applications that touch no room."""
