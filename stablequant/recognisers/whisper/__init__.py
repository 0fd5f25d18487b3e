"""OpenAI's Whisper: an encoder over windows of 30 s, and a decoder that writes text token by token."""
