"""The bundle: one folder with the quantized recogniser, its model card, and the command line that uses it."""
