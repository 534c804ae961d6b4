"""Data, backbone, training, export and evaluation of the reference bundle; the only room that imports torch."""
