"""The network in torch."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from stablequant.recognisers.tiny_seq2seq.front_end import BANDS, MOST_TOKENS
from torch import nn

from stablequant.errors import StableQuantError
from stablequant.recognisers.modules import QuantizedModule

WIDTH, LAYERS = 32, 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, values: torch.Tensor, memory: torch.Tensor, causal: bool = False) -> torch.Tensor:
        scores = self.q(values) @ self.k(memory).transpose(1, 2) / WIDTH**0.5
        if causal:
            places = torch.arange(values.shape[1], device=values.device)
            scores = scores + torch.where(places[None, :] > places[:, None], -1e9, 0.0)
        return self.out(scores.softmax(dim=-1) @ self.v(memory))


class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = values + self.attention(values, values)
        return values + self.fc2(self.fc1(values).relu())


class DecoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own, self.cross = Attention(), Attention()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, values: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        values = values + self.own(values, values, causal=True)
        values = values + self.cross(values, encoded)
        return values + self.fc2(self.fc1(values).relu())


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(BANDS, WIDTH)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden values, and the level of each utterance, which goes around the layers."""
        values = self.projection(features)
        for layer in self.layers:
            values = layer(values)
        return values, features.mean(dim=(1, 2))[:, None]


class Decoder(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, WIDTH)
        self.positions = nn.Parameter(torch.randn(MOST_TOKENS, WIDTH))
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, tokens: torch.Tensor, encoded: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        values = self.embedding(tokens) + self.positions[: tokens.shape[1]] + level[:, None]
        for layer in self.layers:
            values = layer(values, encoded)
        return self.head(values)


class Model(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder(classes)


def modules_of() -> list[QuantizedModule]:
    """What is quantized, in the order in which audio passes it."""
    found = [QuantizedModule("projection", "projection", "encoder.projection", "projection")]
    for number in range(1, LAYERS + 1):
        for side, parts in (("encoder", ("attention",)), ("decoder", ("own", "cross"))):
            layer, place = f"{side}{number:02d}", f"{side}.layers.{number - 1}"
            for part in parts:
                for name in ("q", "k", "v", "out"):
                    read = part if name == "q" else f"{part}_{'out' if name == 'out' else 'memory'}"
                    found.append(QuantizedModule(layer, side, f"{place}.{part}.{name}", f"{layer}.{read}"))
            found += [QuantizedModule(layer, side, f"{place}.{name}", f"{layer}.{name}") for name in ("fc1", "fc2")]
    ordered = [m for m in found if not m.layer.startswith("decoder")]
    ordered += [m for m in found if m.layer.startswith("decoder")]
    return [*ordered, QuantizedModule("head", "head", "decoder.head", "head")]


def read_model(folder: Path) -> Model:
    words = json.loads((folder / "words.json").read_text())
    model = Model(len(words))
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError) as error:
        raise StableQuantError(folder, f"the weights cannot be read ({error})", "restore them") from error
    return model.eval().requires_grad_(False)
