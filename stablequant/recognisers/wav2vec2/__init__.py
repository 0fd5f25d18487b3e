"""CTC recognisers of the wav2vec 2.0 family: wav2vec 2.0, HuBERT, WavLM, data2vec, the conformer and UniSpeech."""
