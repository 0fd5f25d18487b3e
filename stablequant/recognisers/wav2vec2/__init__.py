"""CTC recognisers of the wav2vec 2.0 kin: HuBERT, WavLM, data2vec, conformer."""
