"""The queue of the service: recordings that wait for their turn, and are recognised in threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from stablequant.bundle.transcribe import Transcript


class Transcribes(Protocol):
    """What the queue needs; `stablequant.bundle.transcribe.Transcriber` is one. Threads call it at the same time."""

    def transcribe(self, source: BinaryIO) -> Transcript: ...


class Queue:
    """Recognises ``callers`` recordings at the same time, each within ``seconds``, while up to ``waiting`` more wait.

    Attributes
    ----------
    inside: recordings that wait or are recognised, also those that are recognised beyond their time
    """

    def __init__(self, recogniser: Transcribes, callers: int, waiting: int, seconds: float) -> None:
        self.inside = 0
        self._recogniser, self._callers, self._places, self._seconds = recogniser, callers, callers + waiting, seconds
        self._pool = ThreadPoolExecutor(callers, "recognise")
        self._free = asyncio.Semaphore(callers)
        self._overdue: set[asyncio.Future[Transcript]] = set()  # what is still recognised beyond its time

    @property
    def full(self) -> bool:
        """Whether a further recording is refused: no place is free, or every recogniser is busy beyond its time."""
        return self.inside >= self._places or len(self._overdue) >= self._callers

    async def transcribe(self, recording: BinaryIO, receive: Receive) -> Transcript:
        """Recognise ``recording`` when it is its turn, and close it.

        Raises `TimeoutError` if its time is over. If it is recognised then, that goes on, and it keeps its place until
        it is done. Raises `ClientDisconnect` if the client leaves before its turn, as ``receive`` tells.
        """
        self.inside += 1
        work = None
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn(receive)
                work = self._begin(recording)
                return await asyncio.shield(work)
        except TimeoutError:
            if work is not None:
                self._overdue.add(work)
                work.add_done_callback(self._overdue.discard)
            raise
        finally:
            if work is None:
                self._leave(recording)

    async def _turn(self, receive: Receive) -> None:
        """Wait for a free recogniser and take it; raise `ClientDisconnect` if the client leaves before."""
        turn, gone = asyncio.create_task(self._free.acquire()), asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientDisconnect
        except BaseException:
            if not turn.cancel():  # it had its turn
                self._free.release()
            raise
        finally:
            gone.cancel()

    def _begin(self, recording: BinaryIO) -> asyncio.Future[Transcript]:
        """Recognise ``recording`` in a thread. When that is done, its recogniser is free and its place too."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._recogniser.transcribe, recording)

        def done(finished: asyncio.Future[Transcript]) -> None:
            self._free.release()
            self._leave(recording)
            finished.exception()  # so that the loop does not report it when nobody waits any longer

        work.add_done_callback(done)
        return work

    def _leave(self, recording: BinaryIO) -> None:
        recording.close()
        self.inside -= 1


async def _until_gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
