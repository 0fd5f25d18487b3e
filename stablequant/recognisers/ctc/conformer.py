"""The modules of a conformer's block, by the names that transformers gives them."""

from collections.abc import Mapping

PARTS = {  # module -> the tensor it reads
    "ffn1.intermediate_dense": "ffn1_fc1",
    "ffn1.output_dense": "ffn1_fc2",
    "self_attn.linear_q": "qk",
    "self_attn.linear_k": "qk",
    "self_attn.linear_v": "v",
    "self_attn.linear_out": "out",
    "conv_module.pointwise_conv1": "pointwise1",
    "conv_module.depthwise_conv": "depthwise",
    "conv_module.pointwise_conv2": "pointwise2",
    "ffn2.intermediate_dense": "ffn2_fc1",
    "ffn2.output_dense": "ffn2_fc2",
}


def conformer_parts(positions: str | None) -> Mapping[str, str]:
    """Modules of a block, and the tensor that each reads.

    ``positions`` is ``position_embeddings_type`` in config.json: ``relative``, ``relative_key``, ``rotary`` or None.
    """
    if positions == "rotary":  # linear_q and linear_k read rotated hidden values, linear_v does not
        return PARTS
    one = {part: "qkv" if tensor in ("qk", "v") else tensor for part, tensor in PARTS.items()}
    return {**one, "self_attn.linear_pos": "pos"} if positions == "relative" else one
