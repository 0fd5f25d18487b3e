"""Audio and its transcripts: manifests, recordings and utterances."""
