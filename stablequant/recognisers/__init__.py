"""Families of recognisers. They share one interface, `stablequant.recognisers.family`."""
