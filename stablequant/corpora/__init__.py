"""Audio and its transcripts: manifests, recordings, utterances."""
