"""What all CTC recognisers share: vocabulary, best path, words and their times."""
