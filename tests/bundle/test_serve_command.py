"""``stablequant serve``, stopped, killed and started again."""

import json
import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jiwer
import openai
import pytest
from commands import service
from language_models import arpa_of

from stablequant.bundle.transcribe import load_bundle
from stablequant.recognisers.decoder import BeamSearch


def client_of(port: int) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def taken(port: int) -> int:
    """Requests that wait or run."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
        return json.load(answer)["waiting"]


def test_a_service_that_is_stopped_answers_what_it_took_and_starts_again_after_a_kill(bundle, demo_utterances):
    paths = [Path(u.path) for u in demo_utterances[:8]]

    def ask(path: Path) -> str:
        return client.audio.transcriptions.create(model="any", file=path).text

    with service(bundle, "--language", "en") as (process, port):
        client = client_of(port)
        expected = [ask(path) for path in paths]
        with pytest.raises(openai.BadRequestError, match="this model writes 'en', not 'fr'"):
            client.audio.transcriptions.create(model="any", file=paths[0], language="fr")
        process.send_signal(signal.SIGKILL)
        process.wait()
    recogniser = load_bundle(bundle)
    assert expected == [recogniser.transcribe(path).text for path in paths]
    with service(bundle, "--callers", "1", port=port) as (process, _), ThreadPoolExecutor(len(paths)) as callers:
        asked = [callers.submit(ask, path) for path in paths]
        while taken(port) + sum(future.done() for future in asked) < len(paths):
            pass
        assert not all(future.done() for future in asked), "too fast to be stopped meanwhile"
        process.send_signal(signal.SIGTERM)
        found = [future.result() for future in asked]
        assert process.wait(60) == -signal.SIGTERM
    assert found == expected


@pytest.mark.lm
def test_a_service_searches_with_a_language_model(bundle, demo_utterances, tmp_path):
    few = demo_utterances[:12]
    truth, paths = [u.transcript for u in few], [Path(u.path) for u in few]
    (tmp_path / "lm.arpa").write_text(arpa_of(truth))
    with service(bundle, "--lm", str(tmp_path / "lm.arpa")) as (_, port):
        create = client_of(port).audio.transcriptions.create
        found = [create(model="any", file=path).text for path in paths]
    plain, searching = load_bundle(bundle), load_bundle(bundle, search=BeamSearch(tmp_path / "lm.arpa"))
    assert found == [searching.transcribe(path).text for path in paths]
    alone = [plain.transcribe(path).text for path in paths]
    assert jiwer.wer(truth, found) < jiwer.wer(truth, alone), "the model of the very transcripts helps"
