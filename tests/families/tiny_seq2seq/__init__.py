"""A family that is nothing like CTC: an encoder and a decoder of two layers each, for tests only."""
