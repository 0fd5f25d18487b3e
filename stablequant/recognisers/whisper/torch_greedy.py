"""Greedy decoding in torch, a batch at a time: freely, or along given tokens and only from the first difference on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from stablequant.recognisers.whisper.front_end import FrontEnd
from stablequant.recognisers.whisper.network import Pair, decode


@dataclass(frozen=True)
class Text:
    """What was written for one utterance.

    Attributes
    ----------
    tokens: the text, without the prompt
    logits: float32 ``(tokens of the guide, classes)``, what follows the prompt and each token of the guide but the last
    guide: the tokens along which the logits were computed; the text itself if none were given
    rewritten: number of decoding steps after the pass along the guide
    """

    tokens: Sequence[int]
    logits: torch.Tensor
    guide: Sequence[int]
    rewritten: int = 0


def write(model: WhisperForConditionalGeneration, front_end: FrontEnd, crossed: Sequence[Pair]) -> list[Text]:
    """Greedy decoding of each utterance.

    ``crossed`` are the keys and values of the cross-attention, see `stablequant.recognisers.whisper.network`. An
    utterance leaves the batch when its text ends, so that no values but its own pass the network.
    """
    prompt = list(front_end.prompt)
    rows = len(crossed[0][0])
    found, past = decode(model, _tensor([prompt] * rows, crossed), [], crossed)
    logits = found[:, -1:].float()
    texts, further = _continue(model, front_end, _best(front_end, logits), past, crossed, [len(prompt)] * rows)
    return [Text(tokens, torch.cat([logits[row], *further[row]]), tokens) for row, tokens in enumerate(texts)]


def follow(
    model: WhisperForConditionalGeneration,
    front_end: FrontEnd,
    crossed: Sequence[Pair],
    guides: Sequence[list[int]],
) -> list[Text]:
    """The same texts as those of `write`, and the logits along ``guides``.

    All tokens of a guide pass the decoder at once. Where no other token than the guide's next one is most likely, its
    text is the guide. The others are continued from their first difference on, with the keys and values so far.
    """
    prompt = list(front_end.prompt)
    longest = max(len(guide) for guide in guides)
    # Tokens behind the end of a shorter guide change nothing before them.
    padded = [prompt + guide[:-1] + [front_end.end] * (longest - len(guide)) for guide in guides]
    found, past = decode(model, _tensor(padded, crossed), [], crossed)
    logits = found[:, len(prompt) - 1 :].float()
    best = _best(front_end, logits)
    texts, steps = [list(guide) for guide in guides], [0] * len(guides)
    differences = {
        row: next(i for i, (own, other) in enumerate(zip(best[row], guide, strict=False)) if own != other)
        for row, guide in enumerate(guides)
        if best[row][: len(guide)] != guide
    }
    if differences:
        rows = list(differences)
        known = [len(prompt) + place for place in differences.values()]
        begun = [[*guides[row][:place], best[row][place]] for row, place in differences.items()]
        kept = [(keys[rows, :, : max(known)], values[rows, :, : max(known)]) for keys, values in past]
        rewritten, further = _continue(model, front_end, begun, kept, _rows(crossed, rows), known)
        for row, text, taken in zip(rows, rewritten, further, strict=True):
            texts[row], steps[row] = text, len(taken)
    return [Text(texts[row], logits[row, : len(guide)], guide, steps[row]) for row, guide in enumerate(guides)]


def _continue(
    model: WhisperForConditionalGeneration,
    front_end: FrontEnd,
    begun: Sequence[Sequence[int]],
    past: Sequence[Pair],
    crossed: Sequence[Pair],
    known: Sequence[int],
) -> tuple[list[list[int]], list[list[torch.Tensor]]]:
    """Write token by token until each text ends; return the texts, and logits ``(1, classes)`` of each new token.

    Parameters
    ----------
    begun: the texts so far, at least one token each
    past: keys and values of the prompt and of all tokens but the last; longer than some texts if they differ in length
    crossed: keys and values of the cross-attention
    known: how many of the positions in ``past`` belong to each text
    """
    crossed = _rows(crossed, slice(None))
    texts = [list(tokens) for tokens in begun]
    further: list[list[torch.Tensor]] = [[] for _ in texts]
    running = list(range(len(texts)))
    places = _tensor(known, crossed)
    common = torch.arange(past[0][0].shape[2], device=places.device)
    mask = torch.where(common >= places[:, None], torch.finfo(torch.float32).min, 0.0)[:, None, None]
    while True:
        going = [
            i
            for i, row in enumerate(running)
            if texts[row][-1] != front_end.end and len(texts[row]) < front_end.most_tokens
        ]
        if not going:
            return texts, further
        if len(going) < len(running):
            past, crossed = _rows(past, going), _rows(crossed, going)
            places, mask = places[going], mask[going]
            running = [running[i] for i in going]
        last = _tensor([[texts[row][-1]] for row in running], crossed)
        mask = functional.pad(mask, (0, 1))  # the new token sees itself
        found, past = decode(model, last, past, crossed, places[:, None], mask)
        places = places + 1
        logits = found.float()
        scores = front_end.allowed(logits[:, 0].cpu().numpy(), first=False)
        for i, row in enumerate(running):
            further[row].append(logits[i])
            texts[row].append(int(scores[i].argmax()))


def _rows(pairs: Sequence[Pair], rows: list[int] | slice) -> list[Pair]:
    """The keys and values of some rows, in memory as products read them: every step would copy them otherwise."""
    return [(keys[rows].contiguous(), values[rows].contiguous()) for keys, values in pairs]


def _best(front_end: FrontEnd, logits: torch.Tensor) -> list[list[int]]:
    """The most likely allowed token at each position of texts, from ``logits`` ``(utterances, positions, classes)``."""
    scores = front_end.allowed(logits.cpu().numpy(), first=False)
    scores[:, :1] = front_end.allowed(scores[:, :1], first=True)
    found: list[list[int]] = scores.argmax(axis=-1).tolist()
    return found


def _tensor(numbers: Sequence[object], like: Sequence[Pair]) -> torch.Tensor:
    return torch.tensor(numbers, device=like[0][0].device)
