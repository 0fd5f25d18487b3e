"""Read CTC checkpoints of fairseq as Hugging Face models, without fairseq."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from transformers import HubertConfig, HubertForCTC, PreTrainedModel, Wav2Vec2Config, Wav2Vec2ForCTC

from stablequant.corpora.front_end import LABELS
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.ctc.vocabulary import SPECIAL, Vocabulary
from stablequant.recognisers.ctc.word_marks import find_delimiter
from stablequant.recognisers.pretrained import bare_name
from stablequant.recognisers.unpickling import Placeholder, Saved, plain, read_state

SAMPLE_RATE = 16_000  # Hz, of every published checkpoint; the file does not always contain it
LAYER_NORM_EPSILON = 1e-5  # fairseq normalises audio with torch's layer norm
MAX_CONVOLUTIONS = 64
RECOGNISERS = {"wav2vec_ctc", "hubert_ctc"}
ENCODERS = {"wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC), "hubert": (HubertConfig, HubertForCTC)}
DEFAULTS = {  # from fairseq's Wav2Vec2Config and HubertConfig, for settings that are missing in old files
    "extractor_mode": "default",
    "layer_norm_first": False,
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
    "quantize_input": False,
}
SUPPORTED = ("layer_type", "pos_conv_depth", "conv_pos_batch_norm", "quantize_input")  # only with their defaults
PRETRAINING = re.compile(r"mask_emb|label_embs_concat|(quantizer|project_q|final_proj|target_glu)\..*")
NAMES = [  # fairseq's names below w2v_encoder.w2v_model -> Hugging Face's names below the encoder
    (r"(feature_extractor\.conv_layers\.\d+)\.0\.(weight|bias)", r"\1.conv.\2"),
    (r"(feature_extractor\.conv_layers\.\d+)\.2\.(?:1\.)?(weight|bias)", r"\1.layer_norm.\2"),
    (r"layer_norm\.(weight|bias)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.0\.bias", r"encoder.pos_conv_embed.conv.bias"),
    (r"encoder\.pos_conv\.0\.weight_g", r"encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"encoder\.pos_conv\.0\.weight_v", r"encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv]|out)_proj\.(weight|bias)", r"encoder.layers.\1.attention.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(weight|bias)", r"encoder.layers.\1.layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.fc1\.(weight|bias)", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (r"encoder\.layers\.(\d+)\.fc2\.(weight|bias)", r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"encoder.layers.\1.final_layer_norm.\2"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.layer_norm.\1"),
]  # fmt: skip


class Encoder(TypedDict):
    """fairseq's settings of the encoder that decide what the model computes."""

    extractor_mode: str
    layer_norm_first: bool
    conv_feature_layers: str
    encoder_attention_heads: int
    activation_fn: str


class Settings(NamedTuple):
    """Settings of a checkpoint.

    Attributes
    ----------
    kind: a key of `ENCODERS`
    encoder: settings of the encoder
    normalize: whether audio is normalised
    labels: suffix of the dictionary's name, such as ``ltr``
    """

    kind: str
    encoder: Encoder
    normalize: bool
    labels: str


def read_fairseq(path: Path) -> tuple[PreTrainedModel, FrontEnd]:
    """The model of a CTC fine-tuned checkpoint as a Hugging Face model in float32, and its front end.

    Raises `StableQuantError` if the file is damaged or not supported.
    """
    state = read_state(path)
    settings = _settings(path, state)
    classes, build = ENCODERS[settings.kind]
    weights = _weights(path, state["model"], settings.kind)
    vocabulary = _vocabulary(path, state, settings.labels, len(weights["lm_head.weight"]))
    config = _hugging_face_config(path, settings.encoder, weights, settings.kind)
    try:
        model = build(classes(**config))
        model.load_state_dict(weights)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise StableQuantError(path, f"the weights do not fit its settings ({reason})", "restore it") from error
    labels = settings.labels if settings.labels in LABELS else None
    return model, FrontEnd(SAMPLE_RATE, settings.normalize, vocabulary, LAYER_NORM_EPSILON, trained_on=labels)


def _settings(path: Path, state: Saved) -> Settings:
    """Settings of the checkpoint, from ``cfg`` (since 2021) or ``args`` (before)."""
    try:
        whole = plain(state.get("cfg")) or plain(state.get("args"))
    except (RecursionError, ValueError):
        whole = None
    if not isinstance(whole, dict):
        raise StableQuantError(path, "neither 'cfg' nor 'args' is in it", "take the checkpoint as fairseq saved it")
    recogniser = whole["model"] if isinstance(whole.get("model"), dict) else whole
    task = whole["task"] if isinstance(whole.get("task"), dict) else whole
    found = recogniser.get("_name") or recogniser.get("arch")
    if found not in RECOGNISERS:
        raise StableQuantError(
            path, f"it holds a model of the kind '{found}', without a CTC head", f"take one of {sorted(RECOGNISERS)}"
        )
    encoder = recogniser.get("w2v_args")
    while isinstance(encoder, dict) and isinstance(encoder.get("model"), dict):
        encoder = encoder["model"]
    if not isinstance(encoder, dict):
        raise StableQuantError(path, "the settings of its encoder (w2v_args) are missing", "take another checkpoint")
    kind = encoder.get("_name") or encoder.get("arch") or ("hubert" if found == "hubert_ctc" else "wav2vec2")
    encoder = DEFAULTS | encoder
    for key, default in DEFAULTS.items():
        if type(encoder[key]) is not type(default):
            raise StableQuantError(
                path, f"its '{key}' is {encoder[key]!r}, not of the kind of {default!r}", "restore it"
            )
    unsupported = [f"{key}: {encoder[key]}" for key in SUPPORTED if encoder[key] != DEFAULTS[key]]
    if recogniser.get("blank_weight"):
        unsupported.append(f"blank_weight: {recogniser['blank_weight']}")
    if kind not in ENCODERS or unsupported:
        fault = f"its encoder is '{kind}' with {', '.join(unsupported) or 'other layers'}, which is not supported"
        raise StableQuantError(path, fault, f"take one with an encoder of {sorted(ENCODERS)}")
    labels = task.get("labels") or "ltr"
    checked: Any = encoder
    return Settings(
        kind, checked, bool(task.get("normalize", False)), labels[0] if isinstance(labels, list) else labels
    )


def _weights(path: Path, model: Mapping[str, object], kind: str) -> dict[str, torch.Tensor]:
    """The parameters by Hugging Face's names, in float32, without those that only pre-training uses."""
    weights = {}
    for name, tensor in model.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise StableQuantError(path, f"its parameter '{name}' is no tensor", "restore the file")
        bare = bare_name(name)
        inner = bare.removeprefix("w2v_encoder.w2v_model.")
        if PRETRAINING.fullmatch(inner):
            continue
        renamed = [re.sub(pattern, new, inner) for pattern, new in NAMES if re.fullmatch(pattern, inner)]
        if bare.startswith("w2v_encoder.proj."):
            found = bare.replace("w2v_encoder.proj", "lm_head")
        elif renamed and inner != bare:
            found = f"{kind}.{renamed[0]}"
        else:
            raise StableQuantError(path, f"its parameter '{name}' has no place in a {kind} CTC model", "take another")
        if found in weights:
            raise StableQuantError(path, f"it holds {bare} twice, also as {name}", "save it once more, without wrapper")
        weights[found] = tensor.float()
    for needed in ("lm_head.weight", "lm_head.bias", f"{kind}.feature_projection.projection.weight"):
        if needed not in weights:
            raise StableQuantError(path, f"it has no {needed}", "take a CTC fine-tuned wav2vec 2.0 or HuBERT")
    return weights


def _hugging_face_config(
    path: Path, encoder: Encoder, weights: Mapping[str, torch.Tensor], kind: str
) -> dict[str, Any]:
    """Arguments of the Hugging Face config: sizes come from the weights, all else from the encoder's settings."""
    convolutions = parse_convolutions(path, encoder["conv_feature_layers"])
    layers = {int(m[1]) for name in weights if (m := re.search(r"encoder\.layers\.(\d+)\.", name))}
    hidden = weights["lm_head.weight"].shape[-1]
    heads = encoder["encoder_attention_heads"]
    try:
        filters = [weights[f"{kind}.feature_extractor.conv_layers.{i}.conv.weight"] for i in range(len(convolutions))]
        _, group, positions = weights[f"{kind}.encoder.pos_conv_embed.conv.parametrizations.weight.original1"].shape
        feed_forward, _ = weights[f"{kind}.encoder.layers.0.feed_forward.intermediate_dense.weight"].shape
        fits = [(len(w), w.shape[-1]) for w in filters] == [(outputs, kernel) for outputs, kernel, _ in convolutions]
        fits &= layers == {*range(len(layers))} and hidden % group == 0 and heads > 0 and hidden % heads == 0
    except (KeyError, ValueError, ZeroDivisionError):
        fits = False
    if not fits:
        raise StableQuantError(path, "the weights do not fit its settings, or are not whole", "restore the file")
    return {
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "hidden_act": encoder["activation_fn"],
        "conv_dim": [outputs for outputs, _, _ in convolutions],
        "conv_kernel": [kernel for _, kernel, _ in convolutions],
        "conv_stride": [stride for _, _, stride in convolutions],
        "conv_bias": f"{kind}.feature_extractor.conv_layers.0.conv.bias" in weights,
        "feat_extract_norm": "layer" if encoder["extractor_mode"] == "layer_norm" else "group",
        "do_stable_layer_norm": encoder["layer_norm_first"],
        "num_conv_pos_embeddings": positions,
        "num_conv_pos_embedding_groups": hidden // group,
        "vocab_size": len(weights["lm_head.weight"]),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "apply_spec_augment": False,
    }


def parse_convolutions(path: Path, text: str) -> list[tuple[int, int, int]]:
    """``(outputs, kernel, stride)`` of each convolution, from lists in Python's notation with ``+`` and ``*``.

    ``path`` is for messages. Raises `StableQuantError` if ``text`` is not such a list.
    """

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return [value(item) for item in node.elts]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            layers, times = value(node.left), value(node.right)
            return layers * min(times, MAX_CONVOLUTIONS + 1)
        raise ValueError(text)

    try:
        layers = value(ast.parse(text, mode="eval").body)
        convolutions = [(int(outputs), int(kernel), int(stride)) for outputs, kernel, stride in layers]
        if not 0 < len(convolutions) <= MAX_CONVOLUTIONS or min(n for layer in convolutions for n in layer) < 1:
            raise ValueError(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise StableQuantError(path, f"conv_feature_layers '{text}' is not a list of layers", "restore it") from error
    return convolutions


def _vocabulary(path: Path, state: Saved, labels: str, classes: int) -> Vocabulary:
    """The vocabulary, from the dictionary in the checkpoint or from ``dict.{labels}.txt`` beside it.

    The blank is class 0, which fairseq calls <s>.
    """
    tasks = state.get("task_state")
    inside = tasks.get("target_dictionary") if isinstance(tasks, dict) else None
    inside = inside[0] if isinstance(inside, list) and inside else inside
    if (
        isinstance(inside, Placeholder)
        and isinstance(inside.state, dict)
        and isinstance(inside.state.get("symbols"), list)
    ):
        place, symbols = path, [str(symbol) for symbol in inside.state["symbols"]]
    else:
        place = path.with_name(f"dict.{Path(labels).name}.txt")
        if not place.is_file():
            raise StableQuantError(
                place, f"the file does not exist, and {path.name} holds no dictionary", "put fairseq's dictionary there"
            )
        symbols = ["<s>", "<pad>", "</s>", "<unk>", *_dictionary(place)]
    if len(symbols) != classes or len(set(symbols)) != classes:
        raise StableQuantError(
            place, f"{len(set(symbols))} symbols for the {classes} classes of the CTC head", "take the right dictionary"
        )
    renamed = {"<s>": "<pad>", "<pad>": "<s>"}  # the blank of CTC is <s> in fairseq and <pad> in Hugging Face
    tokens = [renamed.get(symbol, symbol) for symbol in symbols]
    written = [token for token in tokens if token not in SPECIAL]
    return Vocabulary(tokens, blank=0, delimiter=find_delimiter(written))


def _dictionary(file: Path) -> list[str]:
    """Symbols in a file ``dict.*.txt``. Each line is ``symbol count``, with an optional flag behind it."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StableQuantError(file, f"the dictionary cannot be read ({error})", "restore it") from error
    symbols = []
    for number, line in enumerate(lines, start=1):
        match = re.fullmatch(r"(\S+) \d+( #fairseq:overwrite)?\s*", line)
        if match is None:
            raise StableQuantError(f"{file}, line {number}", f"'{line[:80]}' is not 'symbol count'", "restore it")
        symbols.append(match[1])
    return symbols
