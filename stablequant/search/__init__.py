"""The search: what each layer loses, where to clip it, which scales to use."""
