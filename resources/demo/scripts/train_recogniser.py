"""Train a recogniser of the demo from scratch with CTC, helped by the phones that the synthesiser says it spoke."""

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import jiwer
import soundfile
import torch
from torch import nn
from tqdm import tqdm
from transformers import (
    HubertConfig,
    HubertForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    get_cosine_schedule_with_warmup,
)

SAMPLE_RATE, HOP, WINDOW = 16_000, 320, 400  # samples per second, per frame, and seen by one frame
LETTERS = list("|ETAONIHSRDLUMWCFGYPBVK'XJQZ")  # fairseq's dict.ltr.txt
VOCABULARY = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *LETTERS])}


def read_split(manifest: Path) -> list[dict]:
    """Utterances of a manifest: ``samples`` (float32, unit variance), ``transcript``, ``phones`` ((name, end), ...)."""
    root, *rows = manifest.read_text().splitlines()
    transcripts = {}
    for file in Path(root).rglob("*.trans.txt"):
        transcripts |= dict(line.split(" ", 1) for line in file.read_text().splitlines())
    phones_of = dict(line.split("\t") for line in (Path(root) / "phones.tsv").read_text().splitlines())
    utterances = []
    for path in tqdm([row.split("\t")[0] for row in rows], unit="utt", desc=manifest.stem):
        samples = torch.from_numpy(soundfile.read(Path(root) / path, dtype="float32")[0])
        phones = [(p.rsplit(":", 1)[0], float(p.rsplit(":", 1)[1])) for p in phones_of[path].split()]
        utterances.append(
            {
                "samples": (samples - samples.mean()) / (samples.var(unbiased=False) + 1e-7).sqrt(),
                "transcript": transcripts[Path(path).stem],
                "phones": phones,
            }
        )
    return utterances


def make_batches(utterances: list[dict], seconds: float, draw: random.Random) -> list[list[int]]:
    """Indices in batches of one length each: padding would change a group-norm model's output."""
    lengths: dict[int, list[int]] = {}
    for i, utterance in enumerate(utterances):
        lengths.setdefault(len(utterance["samples"]), []).append(i)
    batches = []
    for length, members in lengths.items():
        draw.shuffle(members)
        size = max(1, int(seconds * SAMPLE_RATE / length))
        batches += [members[i : i + size] for i in range(0, len(members), size)]
    draw.shuffle(batches)
    return batches


def phone_targets(utterance: dict, phones: dict[str, int], frames: int) -> torch.Tensor:
    """Phone index at the centre of each frame, ``(frames,)``."""
    ends = torch.tensor([end for _, end in utterance["phones"][:-1]])
    centres = (torch.arange(frames) * HOP + WINDOW / 2) / SAMPLE_RATE
    names = torch.tensor([phones[name] for name, _ in utterance["phones"]])
    return names[torch.searchsorted(ends, centres, right=True)]


def ctc_loss(logits: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
    """Mean CTC loss per letter of ``logits`` ``(batch, frames, vocabulary)``, all frames valid."""
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    frames = torch.full((len(targets),), len(log_probs), dtype=torch.long)
    letters = torch.tensor([len(t) for t in targets])
    return nn.functional.ctc_loss(log_probs, torch.cat(targets), frames, letters, blank=0, zero_infinity=True)


@torch.inference_mode()
def word_error_rate(model: HubertForCTC, utterances: list[dict], tokenizer: Wav2Vec2CTCTokenizer) -> float:
    """Greedy WER in percent."""
    model.eval()
    hypotheses = [""] * len(utterances)
    for batch in make_batches(utterances, 60, random.Random(0)):
        samples = torch.stack([utterances[i]["samples"] for i in batch]).to(model.device)
        for i, text in zip(batch, tokenizer.batch_decode(model(samples).logits.argmax(-1).cpu()), strict=True):
            hypotheses[i] = text
    return 100 * jiwer.wer([u["transcript"] for u in utterances], hypotheses)


class Training:
    """The recogniser in training, with the two heads that only help it, and its state on disk.

    ``state`` holds everything after each epoch, so that an interrupted training goes on from there.
    """

    def __init__(self, model: HubertForCTC, phones: list[str], settings: dict, state: Path) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.settings, self.state = model.to(self.device), settings, state
        self.phones = {name: i for i, name in enumerate(phones)}
        width = model.config.hidden_size
        heads = {"phones": nn.Linear(width, len(phones)), "letters": nn.Linear(width, model.config.vocab_size)}
        self.helpers = nn.ModuleDict(heads).to(self.device)
        self.parameters = [*self.model.parameters(), *self.helpers.parameters()]

    def loss(self, members: list[dict], progress: float) -> torch.Tensor:
        """CTC, intermediate CTC and phones of one batch; ``progress`` through the phase, 0 to 1."""
        middle = self.settings["intermediate_ctc"]
        samples = torch.stack([u["samples"] for u in members]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            output = self.model(samples, output_hidden_states=True)
            phone_logits = self.helpers["phones"](output.hidden_states[self.settings["phone_layer"]])
            middle_logits = self.helpers["letters"](output.hidden_states[middle["layer"]])
        targets = [torch.tensor([VOCABULARY[c] for c in u["transcript"].replace(" ", "|")]) for u in members]
        frames = output.logits.shape[1]
        wanted = torch.stack([phone_targets(u, self.phones, frames) for u in members]).to(self.device)
        phone_loss = nn.functional.cross_entropy(phone_logits.float().transpose(1, 2), wanted)
        letter_loss = ctc_loss(output.logits, targets) + middle["weight"] * ctc_loss(middle_logits, targets)
        return letter_loss + (0.1 + 0.9 * (1 - progress)) * phone_loss

    def run_phase(self, number: int, phase: dict, training: list[dict], after_epoch: Callable[[int], None]) -> None:
        """Train one phase of the recipe, or what is left of it."""
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=phase["peak_learning_rate"],
            betas=(0.9, 0.98),
            weight_decay=self.settings["weight_decay"],
        )
        per_epoch = len(make_batches(training, self.settings["batch_seconds"], random.Random(0)))
        steps = phase["epochs"] * per_epoch
        schedule = get_cosine_schedule_with_warmup(optimizer, phase["warmup_steps"], steps)
        parts = {"model": self.model, "helpers": self.helpers, "optimizer": optimizer, "schedule": schedule}
        first = 0
        if self.state.exists():
            saved = torch.load(self.state, weights_only=True)
            if saved["phase"] > number:
                return
            self.model.load_state_dict(saved["model"])
            self.helpers.load_state_dict(saved["helpers"])
            if saved["phase"] == number:
                first = saved["epoch"]
                optimizer.load_state_dict(saved["optimizer"])
                schedule.load_state_dict(saved["schedule"])
        for epoch in range(first, phase["epochs"]):
            self.model.train()
            torch.manual_seed(100 * number + epoch)
            batches = make_batches(training, self.settings["batch_seconds"], random.Random(100 * number + epoch))
            label = f"{phase['split']}, epoch {epoch + 1} of {phase['epochs']}"
            progress = tqdm(batches, unit="batch", desc=label, mininterval=10)
            for step, batch in enumerate(progress, start=epoch * per_epoch):
                loss = self.loss([training[i] for i in batch], step / steps)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters, 1.0)
                optimizer.step()
                schedule.step()
                progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            after_epoch(epoch)
            saved = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**saved, "phase": number, "epoch": epoch + 1}, self.state.with_suffix(".new"))
            self.state.with_suffix(".new").rename(self.state)


def main(manifests: dict[str, Path], folder: Path, settings: dict, shape: dict, seed: int, threads: int, state: Path):
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    state.parent.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY, indent=1) + "\n")
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), do_lower_case=False)
    model = HubertForCTC(model_config(shape))
    logging.info("%.2f million parameters, %d threads", sum(p.numel() for p in model.parameters()) / 1e6, threads)
    splits = {split: read_split(manifest) for split, manifest in manifests.items()}
    phones = sorted({name for phase in settings["phases"] for u in splits[phase["split"]] for name, _ in u["phones"]})
    training = Training(model, phones, settings, state)

    def report(epoch: int) -> None:
        wer = word_error_rate(model, splits["calibration"], tokenizer)
        logging.info("epoch %d: WER on the calibration split %.2f %%", epoch + 1, wer)

    for number, phase in enumerate(settings["phases"]):
        training.run_phase(number, phase, splits[phase["split"]], report)
    model.cpu().half().save_pretrained(folder)
    masked = model.config.feat_extract_norm == "layer"  # group norm sees padding, masked or not
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked).save_pretrained(folder)


def model_config(shape: dict) -> HubertConfig:
    """HuBERT's architecture in the recipe's ``shape``."""
    return HubertConfig(
        **shape,
        vocab_size=len(VOCABULARY),
        apply_spec_augment=False,
        layerdrop=0.0,
        hidden_dropout=0.05,
        attention_dropout=0.05,
        activation_dropout=0.05,
        feat_proj_dropout=0.05,
        final_dropout=0.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


if __name__ == "__main__":
    Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.FileHandler(snakemake.log[0]), logging.StreamHandler()],
    )
    main(
        {split: Path(manifest) for split, manifest in snakemake.input.items()},
        Path(snakemake.output[0]).parent,
        snakemake.params.training,
        snakemake.params.model,
        snakemake.params.seed,
        snakemake.threads,
        Path(snakemake.params.state),
    )
