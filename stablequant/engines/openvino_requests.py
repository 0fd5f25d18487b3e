"""The infer requests of a compiled OpenVINO network. A request serves one caller at a time."""

from queue import Empty, SimpleQueue

import openvino as ov


class Requests:
    """Requests of the network ``compiled``, made when all others are taken. Threads may share it."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()

    def take(self) -> ov.InferRequest:
        """A request for the caller alone."""
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._compiled.create_infer_request()

    def give_back(self, request: ov.InferRequest) -> None:
        """Let ``request`` serve another caller. If it is not given back, as after a fault, a new one is made."""
        self._idle.put(request)
