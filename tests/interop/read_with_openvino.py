"""Recognise recordings with OpenVINO or optimum-intel, in a process that never imports StableQuant.

    python read_with_openvino.py {openvino,optimum} BUNDLE FIRST FILE...

Each FILE holds float32 samples at 16 kHz. FIRST is the number of zeros that are recognised before, 0 for none. One line
of text is written for each file.
"""

import sys

import numpy as np
from transformers import AutoProcessor

RATE = 16_000

program, bundle, first, *files = sys.argv[1:]
processor = AutoProcessor.from_pretrained(bundle)
if program == "optimum":
    from optimum.intel import OVModelForCTC

    model = OVModelForCTC.from_pretrained(bundle)
else:
    import openvino

    network = openvino.Core().compile_model(f"{bundle}/openvino_model.xml", "CPU")
    if int(first):
        network(np.zeros((1, int(first)), dtype=np.float32))
for file in files:
    samples = np.fromfile(file, dtype="<f4")
    if program == "optimum":
        logits = model(**processor(samples, sampling_rate=RATE, return_tensors="pt")).logits.numpy()
    else:
        logits = network(processor(samples, sampling_rate=RATE, return_tensors="np").input_values)[0]
    print(*processor.batch_decode(logits.argmax(axis=-1)))
assert "stablequant" not in sys.modules
