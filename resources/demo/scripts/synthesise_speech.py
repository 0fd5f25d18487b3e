"""Speak one split with flite: FLAC in LibriSpeech's folders, transcripts, fairseq's manifest and the phones' times."""

import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly
from tqdm import tqdm

SAMPLE_RATE = 16_000
UTTERANCES_PER_CHAPTER = 20
MEAN_PITCH = {"slt": 170, "rms": 95, "awb": 120}  # hertz, the voices' own


def speak(
    sentence: str, voice: str, stretch: float, pitch: float, wav: Path
) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Samples in [-1, 1] at 16 kHz and (phone, end in seconds) as flite says them."""
    command = [
        "flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch:.4f}",
        "--setf", f"int_f0_target_mean={pitch:.2f}", "-t", sentence, "-o", str(wav),
    ]  # fmt: skip
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    samples, rate = soundfile.read(wav, dtype="float64")
    wav.unlink()
    if rate != SAMPLE_RATE:
        raise ValueError(f"flite voice {voice} speaks at {rate} Hz, not {SAMPLE_RATE}")
    return samples, [(phone, float(end)) for phone, end in re.findall(r"(\S+):([\d.]+)", printed)]


def make_utterance(
    sentence: str, speaker: tuple[str, float], speech: dict, draw: random.Random, wav: Path
) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """One utterance as it is recorded: warped, scaled, in noise, with silence up to a common length."""
    voice, warp = speaker
    pitch = MEAN_PITCH[voice] * draw.uniform(*speech["pitch"])
    samples, phones = speak(sentence, voice, draw.uniform(*speech["stretch"]), pitch, wav)
    up, down = 100, round(100 * warp)
    samples = resample_poly(samples, up // gcd(up, down), down // gcd(up, down))
    phones = [(phone, end * up / down) for phone, end in phones]
    samples *= draw.uniform(*speech["peak"]) / np.abs(samples).max()
    total = next(int(s * SAMPLE_RATE) for s in speech["lengths"] if s * SAMPLE_RATE >= len(samples))
    noise = np.random.default_rng(draw.getrandbits(32)).standard_normal(total)
    samples = np.pad(samples, (0, total - len(samples))) + noise * 10 ** (draw.uniform(*speech["noise_db"]) / 20)
    return samples.clip(-1, 1), phones


def write_split(sentences: list[str], folder: Path, manifest: Path, speech: dict, seed: int, threads: int) -> None:
    """Write the audio in LibriSpeech's folders, the ``.trans.txt`` files, ``phones.tsv`` and the manifest."""
    speakers = [(voice, warp) for voice in speech["voices"] for warp in speech["warps"]]

    def record(number: int) -> tuple[str, int, str, str]:
        draw = random.Random(seed * 1_000_003 + number)
        who, turn = number % len(speakers), number // len(speakers)
        speaker, chapter = 101 + who, 1 + turn // UTTERANCES_PER_CHAPTER
        name = f"{speaker}-{chapter}-{turn % UTTERANCES_PER_CHAPTER:04d}"
        path = folder / str(speaker) / str(chapter) / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples, phones = make_utterance(sentences[number], speakers[who], speech, draw, path.with_suffix(".wav"))
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        spelled = " ".join(f"{phone}:{end:.3f}" for phone, end in phones)
        return str(path.relative_to(folder)), len(samples), f"{name} {sentences[number].upper()}", spelled

    with ThreadPoolExecutor(threads) as pool:
        rows = sorted(tqdm(pool.map(record, range(len(sentences))), total=len(sentences), unit="utt"))
    transcripts: dict[Path, list[str]] = {}
    for path, _, transcript, _ in rows:
        speaker, chapter, _ = path.split("/")
        transcripts.setdefault(folder / speaker / chapter / f"{speaker}-{chapter}.trans.txt", []).append(transcript)
    for file, lines in transcripts.items():
        file.write_text("".join(f"{line}\n" for line in lines))
    manifest.write_text(f"{folder}\n" + "".join(f"{path}\t{samples}\n" for path, samples, _, _ in rows))
    (folder / "phones.tsv").write_text("".join(f"{path}\t{spelled}\n" for path, _, _, spelled in rows))


if __name__ == "__main__":
    write_split(
        Path(snakemake.input.sentences).read_text().splitlines(),
        Path(snakemake.output.folder),
        Path(snakemake.output.manifest),
        snakemake.params.speech,
        snakemake.params.seed,
        snakemake.threads,
    )
