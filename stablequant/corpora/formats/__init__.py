"""Formats of audio files: which one a file is, whether all of it is there, and how it is decoded."""
