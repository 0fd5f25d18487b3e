"""CTC recognisers with Wav2Vec2-BERT: a conformer over log-mel features."""
