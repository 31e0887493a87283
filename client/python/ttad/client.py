# SPDX-License-Identifier: Apache-2.0
"""The client: numpy arrays in, answers and what was done for them out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
import zmq

from .channel import Channel
from .endpoints import default_endpoint
from .errors import BadArgument, BadReply, Closed
from .events import Events
from .wire import Header, Message, describe, encode

Arrays = Union[np.ndarray, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Answer:
    """A reply to infer().

    logits          the first output, [n, ...]
    outputs         every output by name
    id, stream      of the request; labels for it go to feedback(id, ..., stream)
    version         hex hash of the parameters that answered; step: how many updates they have had
    adapted         was something learnt from this batch; if not, skipped says why, else it is ""
    loss, entropy   of this batch, NaN where not computed
    guard           ok, warn, hold or tripped
    rolled_back_to  the version that was just gone back to, "" as a rule
    *_us            microseconds spent waiting, answering, adapting
    credit          how many more requests this client may have under way
    parameters      everything that the server said, also what this client has no field for
    """

    logits: np.ndarray
    outputs: Dict[str, np.ndarray]
    id: str
    stream: str
    version: str
    step: int
    adapted: bool
    skipped: str
    engine: str
    loss: float
    entropy: float
    guard: str
    rolled_back_to: str
    queue_us: int
    infer_us: int
    adapt_us: int
    credit: int
    parameters: Dict[str, Any] = field(repr=False)


def answer_of(message: Message) -> Answer:
    """An infer reply as an Answer.  Raises BadReply: no output, or a field of a wrong type."""
    header, said = message.header, message.header.get("parameters") or {}
    request_id = str(header.get("id", ""))
    if not message.tensors:
        raise BadReply("an answer without outputs", id=request_id)
    if not isinstance(said, dict):
        raise BadReply(
            f"'parameters' is a json {type(said).__name__}, want an object", id=request_id
        )

    def number(key: str, default: float) -> float:
        value = said.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadReply(f"'{key}' is {value!r}, want a number", id=request_id)
        return value

    def text(key: str) -> str:
        return str(said.get(key) or "")

    return Answer(
        logits=next(iter(message.tensors.values())),
        outputs=message.tensors,
        id=request_id,
        stream=text("stream_id"),
        version=text("version"),
        step=int(number("step", 0)),
        adapted=said.get("adapted") is True,
        skipped=text("skipped"),
        engine=text("engine"),
        loss=float(number("loss", np.nan)),
        entropy=float(number("entropy", np.nan)),
        guard=text("guard"),
        rolled_back_to=text("rolled_back_to"),
        queue_us=int(number("queue_us", 0)),
        infer_us=int(number("infer_us", 0)),
        adapt_us=int(number("adapt_us", 0)),
        credit=int(number("credit", 0)),
        parameters=said,
    )


def connect(
    data: Optional[str] = None,
    control: Optional[str] = None,
    events: Optional[str] = None,
    timeout: float = 30.0,
    retry_busy: bool = True,
    name: str = "python",
    try_timeout: float = 5.0,
) -> "Client":
    """A client of the daemon at these endpoints (ZeroMQ addresses; None: the daemon's defaults).

    timeout     seconds that every call waits at most, unless the call says otherwise
    retry_busy  False: send nothing twice (else see below)
    try_timeout seconds until the first try counts as lost; doubles with each try
    name        who this is: the server records it with a rollback, a freeze, ...

    Nothing is sent yet: a daemon that is not there shows as Disconnected, a Timeout, in the first
    call.

    Until its timeout, a request is sent again under its id: after BUSY when the server says, after
    DRAINING with growing pauses, as soon as the connection is back when it was lost, and when a try
    brings no reply.  The server does not learn from an id twice; a second reply is dropped.  So a
    restart of the daemon shows as a slow reply.  rollback(), stream(action="reset"), load(),
    unload() and drain() are not safe to do twice: they are sent again only after a refusal, or when
    they cannot have arrived; otherwise they raise Disconnected, or Timeout, and may have been done.
    """
    return Client(
        data or default_endpoint("data"),
        control or default_endpoint("control"),
        events or default_endpoint("events"),
        timeout,
        retry_busy,
        name,
        try_timeout,
    )


class Client:
    """See connect().  Use it in a `with`, or close() it.

    One thread uses a client at a time; a call while another thread is in one raises BadArgument.
    """

    def __init__(
        self,
        data: str,
        control: str,
        events: str,
        timeout: float = 30.0,
        retry_busy: bool = True,
        name: str = "python",
        try_timeout: float = 5.0,
    ) -> None:
        self._context = zmq.Context()
        self._data = Channel(self._context, data, retry_busy, try_timeout)
        self._control = Channel(self._context, control, retry_busy, try_timeout)
        self._events = events
        self._timeout = timeout
        self._name = name
        self._prefix = secrets.token_hex(8)  # ids stay apart from those of an earlier run
        self._count = 0
        self._closed = False
        self._subscriptions: List[Events] = []

    # ---- answers and labels ---------------------------------------------------------------

    def infer(
        self,
        x: Arrays,
        stream: str,
        model: Optional[str] = None,
        policy: Optional[str] = None,
        id: Optional[str] = None,
        deadline_ms: Optional[int] = None,
        input_name: str = "",
        scale: Optional[float] = None,
        mean: Optional[Sequence[float]] = None,
        std: Optional[Sequence[float]] = None,
        outputs: Sequence[str] = (),
        timeout: Optional[float] = None,
        on_deadline: Optional[str] = None,
    ) -> Answer:
        """Ask for a batch and wait for the answer.

        x                 [n, ...]: bool, uint8, int32, int64, float16 or float32; or a dict of them
        stream            whose parameters answer, and learn
        model, policy     None: the only model; the policy of the stream, or the server's default
        id                names the request; the same id again is not learnt from twice
        deadline_ms       after that long, or if it would take longer, nothing is learnt; counted
                          from the arrival of each try; None: never
        on_deadline       past the deadline: "frozen" (None) answers still, "refuse" does not
        scale, mean, std  (x * scale - mean) / std is done by the server, mean and std per channel
        outputs           names of the outputs wanted; none: all

        Raises TtadError: BadRequest, NotFound, Busy, DeadlineMissed, Cancelled, Draining, Timeout,
        BadReply, BadArgument.
        """
        request = self._infer(
            x,
            stream,
            model,
            policy,
            id,
            deadline_ms,
            input_name,
            scale,
            mean,
            std,
            outputs,
            timeout,
            on_deadline,
            share=True,
        )
        return self.result(request)

    def submit(
        self,
        x: Arrays,
        stream: str,
        model: Optional[str] = None,
        policy: Optional[str] = None,
        id: Optional[str] = None,
        deadline_ms: Optional[int] = None,
        input_name: str = "",
        scale: Optional[float] = None,
        mean: Optional[Sequence[float]] = None,
        std: Optional[Sequence[float]] = None,
        outputs: Sequence[str] = (),
        timeout: Optional[float] = None,
        on_deadline: Optional[str] = None,
    ) -> str:
        """Like infer(), but only send: returns the id for result().  x may be changed at once."""
        return self._infer(
            x,
            stream,
            model,
            policy,
            id,
            deadline_ms,
            input_name,
            scale,
            mean,
            std,
            outputs,
            timeout,
            on_deadline,
            share=False,
        )

    def result(self, id: str) -> Answer:
        """Wait for the answer to a submit(), in any order; each can be had once."""
        return answer_of(self._data.result(id))

    def feedback(
        self, id: str, labels: np.ndarray, stream: str, timeout: Optional[float] = None
    ) -> Dict[str, Any]:
        """Tell the true classes (integers, [n]) of an earlier request; returns the server's reply.

        They are credited to the version that answered.  Raises TtadError as infer() does;
        BadRequest: the id is not remembered, or has labels, which after a lost connection may mean
        that the first try was taken.  Labels are never counted twice.
        """
        array = np.asarray(labels)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise BadArgument(
                f"labels are {array.dtype} {list(array.shape)}, want integers [n]", id=id
            )
        array = array.astype(np.int64)
        header = {
            "op": "feedback",
            "id": id,
            "parameters": {"stream_id": stream},
            "inputs": [describe("label", array)],
        }
        return self._call(self._data, header, [array], timeout)

    def cancel(self, id: str, stream: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Drop a request that waits, here or in the server's queue: its result() raises Cancelled.

        The reply's `state` is what the server found: "dropped"; "under_way": too late, it is
        answered; "unknown": it is answered, or has not got there.
        """
        self._data.cancel(id)
        return self._op(self._data, "cancel", timeout, stream_id=stream, request_id=id)

    # ---- control --------------------------------------------------------------------------

    def hello(self) -> Dict[str, Any]:
        """The server's version, boot id, models, limits and credit."""
        from . import __version__

        return self._op(self._data, "hello", client=self._name, client_version=__version__)

    def ping(self, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Answered by the control thread without a worker."""
        return self._op(self._control, "ping", timeout=timeout)

    def status(self) -> Dict[str, Any]:
        """The daemon's state and counters."""
        return self._op(self._control, "status")

    def models(self) -> List[Dict[str, Any]]:
        """One dict a model."""
        return self._list("models")

    def streams(self) -> List[Dict[str, Any]]:
        """One dict a stream."""
        return self._list("streams")

    def snapshot(self, stream: str, reason: Optional[str] = None) -> Dict[str, Any]:
        """Write the stream's version to the disk; returns it."""
        return self._steer("snapshot", stream, reason=reason)

    def snapshots(self, stream: str) -> List[Dict[str, Any]]:
        """One dict a version of the stream that can be gone back to, newest first."""
        return self._list("snapshots", stream_id=stream)

    def rollback(
        self, stream: str, version: Optional[str] = None, reason: Optional[str] = None
    ) -> Dict[str, Any]:
        """Go back to a version (None: the newest that is marked good, else the base)."""
        return self._steer("rollback", stream, twice=False, version=version, reason=reason)

    def freeze(self, stream: str, reason: Optional[str] = None) -> Dict[str, Any]:
        """Answer from now on without learning."""
        return self._steer("freeze", stream, reason=reason)

    def thaw(self, stream: str, reason: Optional[str] = None) -> Dict[str, Any]:
        """Learn again."""
        return self._steer("thaw", stream, reason=reason)

    def reload(self) -> Dict[str, Any]:
        """Read configuration and policies again, all or nothing."""
        return self._op(self._control, "reload", actor=self._name)

    def load(self, model: str, path: str, replace: bool = False) -> Dict[str, Any]:
        """Serve a model from a file of the daemon's machine; replace: in the place of another."""
        return self._op(
            self._control,
            "load",
            twice=False,
            model=model,
            path=path,
            replace=replace or None,
            actor=self._name,
        )

    def unload(self, model: str) -> Dict[str, Any]:
        """Serve a model no more; its streams are answered with NO_MODEL."""
        return self._op(self._control, "unload", twice=False, model=model, actor=self._name)

    def log_level(self, level: str) -> Dict[str, Any]:
        """What the daemon logs from now on: err, warn, info or debug."""
        return self._op(self._control, "log_level", level=level)

    def drain(self) -> Dict[str, Any]:
        """Finish what is queued, take no more, end."""
        return self._op(self._control, "drain", twice=False)

    def stream(
        self, stream: str, action: str = "describe", policy: Optional[str] = None
    ) -> Dict[str, Any]:
        """open, close, reset or describe a stream."""
        return self._op(
            self._data,
            "stream",
            twice=action != "reset",
            stream_id=stream,
            action=action,
            policy=policy,
        )

    # ---- the rest -------------------------------------------------------------------------

    def events(self, topics: Sequence[str] = (), timeout: Optional[float] = None) -> Events:
        """An iterator over events: topics are prefixes, none = all.

        It ends after `timeout` seconds of silence; None: never.
        """
        if self._closed:
            raise Closed("the client is closed")
        self._subscriptions = [s for s in self._subscriptions if not s.closed]
        self._subscriptions.append(Events(self._context, self._events, topics, timeout))
        return self._subscriptions[-1]

    def close(self) -> None:
        """Close the sockets, also those of events(); requests under way are dropped."""
        if not self._closed:
            self._data.close()
            self._control.close()
            self._closed = True
            for subscription in self._subscriptions:
                subscription.close()
            self._context.term()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- how ------------------------------------------------------------------------------

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"

    def _infer(
        self,
        x: Arrays,
        stream: str,
        model: Optional[str],
        policy: Optional[str],
        id: Optional[str],
        deadline_ms: Optional[int],
        input_name: str,
        scale: Optional[float],
        mean: Optional[Sequence[float]],
        std: Optional[Sequence[float]],
        outputs: Sequence[str],
        timeout: Optional[float],
        on_deadline: Optional[str],
        share: bool,
    ) -> str:
        """Send an infer request; returns its id."""
        request = self._next_id() if id is None else id
        how = _given(scale=scale, mean=_floats(mean), std=_floats(std))
        arrays = x if isinstance(x, Mapping) else {input_name: np.asarray(x)}
        header: Header = {"op": "infer"}
        if model is not None:
            header["model_name"] = model
        header["id"] = request
        header["parameters"] = {
            "stream_id": stream,
            **_given(policy=policy, deadline_ms=deadline_ms, on_deadline=on_deadline),
        }
        header["inputs"] = [describe(name, array, how) for name, array in arrays.items()]
        if outputs:
            header["outputs"] = [{"name": name} for name in outputs]
        frames = encode(header, list(arrays.values()))
        self._data.submit(request, "infer", frames, self._wait(timeout), share=share)
        return request

    def _op(
        self,
        channel: Channel,
        op: str,
        timeout: Optional[float] = None,
        twice: bool = True,
        model: Optional[str] = None,
        **parameters: Any,
    ) -> Dict[str, Any]:
        header: Header = {"op": op, "id": self._next_id(), **_given(model_name=model)}
        given = _given(**parameters)
        if given:
            header["parameters"] = given
        return self._call(channel, header, [], timeout, twice)

    def _steer(
        self, op: str, stream: str, twice: bool = True, **parameters: Any
    ) -> Dict[str, Any]:
        return self._op(
            self._control, op, twice=twice, stream_id=stream, actor=self._name, **parameters
        )

    def _list(self, op: str, **parameters: Any) -> List[Dict[str, Any]]:
        reply = self._op(self._control, op, **parameters)
        rows = reply.get(op)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadReply(f"the reply to {op} has no list '{op}'")
        return rows

    def _call(
        self,
        channel: Channel,
        header: Header,
        tensors: List[np.ndarray],
        timeout: Optional[float],
        twice: bool = True,
    ) -> Dict[str, Any]:
        """Send, wait, and give the reply as one flat dict."""
        frames = encode(header, tensors)
        channel.submit(header["id"], header["op"], frames, self._wait(timeout), twice)
        reply = dict(channel.result(header["id"]).header)
        said = reply.pop("parameters", None)
        reply.pop("op", None)
        if isinstance(said, dict):
            reply.update(said)
        return reply

    def _wait(self, timeout: Optional[float]) -> float:
        seconds = self._timeout if timeout is None else timeout
        if not seconds > 0:
            raise BadArgument(f"timeout {seconds} s, want more than 0")
        return seconds


def _given(**values: Any) -> Dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _floats(values: Optional[Sequence[float]]) -> Optional[List[float]]:
    return None if values is None else [float(v) for v in values]
