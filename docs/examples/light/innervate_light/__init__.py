"""A light sensor for Innervate."""
