"""Families of recognisers. They share one interface, see `stablequant.recognisers.family`."""
