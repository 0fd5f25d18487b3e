"""Published CTC checkpoints: what is known of their files, and twins of tiny width with the same layout.

A fact comes from the addresses in ``sources``: pages of the hub (a file, a commit or a list of files), or copies of a
configuration in other projects. ``assumed`` names what these pages do not show and what was filled in from
transformers' defaults or from checkpoints of the same author. No file was copied: twins have random weights, and
a vocabulary of more than a hundred tokens is replaced by a shorter one of the same form.
"""

from zoo import kinds, languages, librispeech, phonemes

ZOO = [*librispeech.CHECKPOINTS, *languages.CHECKPOINTS, *kinds.CHECKPOINTS, *phonemes.CHECKPOINTS]
NAMES = {published.name: published for published in ZOO}
