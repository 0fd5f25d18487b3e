"""Small random CTC recognisers made, saved and run by fairseq itself.

Run with an interpreter that has fairseq: ``python write_checkpoints.py FOLDER``. Each checkpoint gets a folder of its
own, with the dictionary beside it where the checkpoint holds none, and ``logits-*.npz`` with what fairseq makes of a
second and a half of noise.
"""

import argparse
import logging
import os
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from fairseq import checkpoint_utils, tasks
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.models.hubert.hubert import HubertConfig
from fairseq.models.hubert.hubert_asr import HubertCtcConfig
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from fairseq.trainer import Trainer
from omegaconf import OmegaConf, open_dict

ENCODER = {
    "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "final_dim": 24,
    "latent_vars": 8,
}
LETTERS = list("|ETAONIHSRDLUMWCFGYPBVK'XJQZ")


@dataclass
class CompleteHubertCtcConfig(HubertCtcConfig):
    """With the key that fairseq 0.12's HuBERT encoder reads and its own class lacks."""

    autoregressive: bool = False


MODEL_DATACLASS_REGISTRY["hubert_ctc"] = CompleteHubertCtcConfig


def settings(kind: str, extractor_mode: str, layer_norm_first: bool, data: Path):
    """The configuration of a fine-tuned recogniser, whole, as fairseq's own command line would make it."""
    normalize = extractor_mode == "layer_norm"
    encoder = {
        **ENCODER,
        "extractor_mode": extractor_mode,
        "layer_norm_first": layer_norm_first,
        "conv_bias": layer_norm_first,
    }
    if kind == "hubert":
        pretraining = HubertPretrainingConfig(data=str(data), labels=["km"], label_rate=50.0, normalize=normalize)
        finetuning = HubertPretrainingConfig(
            data=str(data), labels=["ltr"], normalize=normalize, fine_tuning=True, single_target=True
        )
        names = ("hubert_pretraining", "hubert_pretraining", "hubert", "hubert_ctc")
        model, ctc = HubertConfig, CompleteHubertCtcConfig
    else:
        pretraining = AudioPretrainingConfig(data=str(data), normalize=normalize)
        finetuning = AudioFinetuningConfig(data=str(data), labels="ltr", normalize=normalize)
        names = ("audio_pretraining", "audio_finetuning", "wav2vec2", "wav2vec_ctc")
        model, ctc = Wav2Vec2Config, Wav2Vec2CtcConfig
        encoder["quantize_targets"] = True
    inner = OmegaConf.create(
        {
            "_name": None,
            "task": {**OmegaConf.to_container(OmegaConf.structured(pretraining)), "_name": names[0]},
            "model": {**_plain(model), **encoder, "_name": names[2]},
        }
    )
    config = OmegaConf.structured(FairseqConfig())
    with open_dict(config):
        config.task = {**_plain(finetuning), "_name": names[1]}
        config.model = {**_plain(ctc), "w2v_path": "pretrained.pt", "_name": names[3]}
        config.model.update(normalize=normalize, data=str(data), w2v_args=inner)
        config.criterion = {"_name": "ctc", "zero_infinity": True, "sentence_avg": True, "post_process": "letter"}
        config.optimizer = {"_name": "adam", "lr": [1e-4], "adam_betas": "(0.9,0.98)", "adam_eps": 1e-8}
        config.optimizer.update(weight_decay=0.0, use_old_adam=False, fp16_adam_stats=False, tpu=False)
        config.lr_scheduler = {"_name": "fixed", "lr": [1e-4], "warmup_updates": 0, "lr_shrink": 0.1}
        config.lr_scheduler.force_anneal = None
    return config


def _plain(dataclass) -> dict:
    structured = OmegaConf.structured(dataclass)
    return {
        key: value
        for key, value in OmegaConf.to_container(structured, resolve=False, enum_to_str=True).items()
        if not (isinstance(value, str) and value.startswith("${"))
    }


def build(kind: str, extractor_mode: str, layer_norm_first: bool, data: Path):
    """Configuration, task and model with random weights, the norms' included."""
    torch.manual_seed(0)
    config = settings(kind, extractor_mode, layer_norm_first, data)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms and biases start as ones and zeros, which would hide a mix-up
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.data = noise + (1 if name.endswith("weight") else 0)
    return config, task, model


def logits_of(model, normalize: bool, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Audio, as the microphone gives it, and the model's logits ``(frames, classes)``."""
    audio = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(2)) + 0.01
    source = torch.nn.functional.layer_norm(audio, audio.shape) if normalize else audio
    with torch.no_grad():
        output = model(source=source, padding_mask=torch.zeros(source.shape, dtype=torch.bool))
        logits = model.get_logits(output)
    return audio[0].numpy(), logits[:, 0].numpy()


def write(folder: Path, kind: str, extractor_mode: str, layer_norm_first: bool, data: Path, form: str) -> None:
    """Save in one of fairseq's ``form``s: ``plain``, ``omegaconf`` or ``args``."""
    folder.mkdir(parents=True)
    config, task, model = build(kind, extractor_mode, layer_norm_first, data)
    criterion = task.build_criterion(config.criterion)
    trainer = Trainer(config, task, model, criterion)
    trainer.consolidate_optimizer()
    _ = task.target_dictionary
    file = folder / "checkpoint.pt"
    if form == "plain":  # what the trainer writes today
        trainer.save_checkpoint(str(file), {"epoch": 1, "val_loss": 1.0})
    else:
        state = trainer.state_dict()
        if form == "omegaconf":  # what it wrote in 2021: the configuration as an object
            state["cfg"] = OmegaConf.create(OmegaConf.to_container(config, resolve=True, enum_to_str=True))
        else:  # what it wrote in 2020: a namespace, no dictionary, torch's old file format
            inner = config.model.w2v_args
            pretraining = argparse.Namespace(
                arch="wav2vec2", task="audio_pretraining", **_flat(inner.model) | _flat(inner.task)
            )
            flat = {**_flat(config.model), **_flat(config.task), "w2v_args": pretraining}
            state["args"] = argparse.Namespace(
                arch="wav2vec_ctc", task="audio_finetuning", criterion="ctc", optimizer="adam", **flat
            )
            del state["cfg"], state["task_state"]
        torch.save(state, file, _use_new_zipfile_serialization=form != "args")
    if form == "args":
        (folder / "dict.ltr.txt").write_bytes((data / "dict.ltr.txt").read_bytes())
    else:
        overrides = {"data": str(data)}  # read back, to be sure that it is a checkpoint to fairseq too
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(file)], arg_overrides=overrides)
    normalize = extractor_mode == "layer_norm"
    for samples in (24_000, 24_337):
        audio, logits = logits_of(model.eval(), normalize, samples)
        np.savez(folder / f"logits-{samples}.npz", audio=audio, logits=logits)


def _flat(group) -> dict:
    values = OmegaConf.to_container(group, resolve=True, enum_to_str=True)
    return {key: value for key, value in values.items() if key != "_name" and not isinstance(value, dict)}


def main(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(parents=True)
    (data / "dict.ltr.txt").write_text("".join(f"{letter} {100 - i}\n" for i, letter in enumerate(LETTERS)))
    (data / "dict.km.txt").write_text("".join(f"{i} 1\n" for i in range(20)))
    for kind, mode, first in product(("hubert", "wav2vec2"), ("default", "layer_norm"), (False, True)):
        name = f"{kind}-{mode}-{'pre' if first else 'post'}"
        write(folder / name, kind, mode, first, data, "plain" if mode == "default" else "omegaconf")
    for mode, first in (("default", False), ("layer_norm", True)):
        write(folder / f"wav2vec2-{mode}-args", "wav2vec2", mode, first, data, "args")


if __name__ == "__main__":
    logging.disable(logging.INFO)
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # fairseq reads its own files back, which torch now refuses
    main(Path(sys.argv[1]).resolve())
