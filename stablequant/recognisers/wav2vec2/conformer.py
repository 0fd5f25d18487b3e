"""Change wav2vec 2.0's conformer so that it can be quantized and exported. Its results stay the same."""

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as modeling

from stablequant.recognisers.ctc.positions import attend_to_relative_positions


def prepare(model: torch.nn.Module) -> None:
    """Change ``model`` in place: fold batch norms, and look up relative positions in another way.

    Each batch norm is folded into the depthwise convolution before it. The export would do this too, and then the
    quantized weights would differ from those of the search. Relative positions are looked up as in
    `stablequant.recognisers.ctc.positions`.
    """
    modeling._apply_relative_position_encoding = attend_to_relative_positions
    for module in model.modules():
        if isinstance(module, modeling.Wav2Vec2ConformerConvolutionModule):
            module.depthwise_conv = fuse_conv_bn_eval(module.depthwise_conv, module.batch_norm)
            module.register_module("batch_norm", torch.nn.Identity())
