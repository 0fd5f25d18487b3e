"""Families of recognisers behind one interface, `stablequant.recognisers.family`."""
