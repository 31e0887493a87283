# SPDX-License-Identifier: Apache-2.0
"""The client against a server that answers well, badly, late, or not at all."""

import threading
import time
import unittest

import numpy as np

import ttad
from ttad.errors import from_reply
from tests.fake_server import FakeServer, error, frames

LOGITS = np.arange(6, dtype=np.float32).reshape(2, 3)
SAID = {
    "stream_id": "cam-7",
    "version": "00112233aabbccdd",
    "step": 8,
    "adapted": True,
    "engine": "tent",
    "loss": 0.5,
    "entropy": 0.25,
    "guard": "ok",
    "queue_us": 3,
    "infer_us": 40,
    "adapt_us": 50,
    "credit": 7,
    "new_in_2030": [1],
}
IMAGE = np.zeros((2, 1, 4, 4), np.float32)


def answer(request, logits=LOGITS, **said):
    header = {
        "op": "infer",
        "model_name": "m",
        "id": request["id"],
        "parameters": {**SAID, **said},
        "outputs": [
            {
                "name": "logits",
                "shape": list(logits.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": logits.nbytes},
            }
        ],
    }
    return frames(header, logits.tobytes())


class ClientTest(unittest.TestCase):
    def serve(self, handler, timeout=5.0, **options):
        server = FakeServer(handler)
        self.addCleanup(server.close)
        client = ttad.connect(
            server.endpoint, server.endpoint, server.events_endpoint, timeout=timeout, **options
        )
        self.addCleanup(client.close)
        return server, client


class Infer(ClientTest):
    def test_an_answer_has_every_field_of_the_reply(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        got = client.infer(IMAGE, stream="cam-7", id="42")
        np.testing.assert_array_equal(got.logits, LOGITS)
        self.assertEqual(
            (
                got.id,
                got.stream,
                got.version,
                got.step,
                got.adapted,
                got.skipped,
                got.engine,
                got.loss,
                got.entropy,
                got.guard,
                got.rolled_back_to,
                got.queue_us,
                got.infer_us,
                got.adapt_us,
                got.credit,
            ),
            (
                "42",
                "cam-7",
                "00112233aabbccdd",
                8,
                True,
                "",
                "tent",
                0.5,
                0.25,
                "ok",
                "",
                3,
                40,
                50,
                7,
            ),
        )
        self.assertEqual(got.parameters["new_in_2030"], [1])

    def test_the_request_is_what_the_protocol_says(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        client.infer(
            IMAGE,
            stream="cam-7",
            model="resnet20",
            policy="tent",
            id="42",
            deadline_ms=50,
            on_deadline="refuse",
            input_name="image",
            scale=0.5,
            mean=[1],
            std=(2.0,),
            outputs=["logits"],
        )
        self.assertEqual(
            server.requests[0],
            {
                "op": "infer",
                "model_name": "resnet20",
                "id": "42",
                "parameters": {
                    "stream_id": "cam-7",
                    "policy": "tent",
                    "deadline_ms": 50,
                    "on_deadline": "refuse",
                },
                "inputs": [
                    {
                        "name": "image",
                        "shape": [2, 1, 4, 4],
                        "datatype": "FP32",
                        "parameters": {
                            "binary_data_size": 128,
                            "scale": 0.5,
                            "mean": [1.0],
                            "std": [2.0],
                        },
                    }
                ],
                "outputs": [{"name": "logits"}],
            },
        )
        self.assertEqual(server.raw[0][2], IMAGE.tobytes())

    def test_several_inputs_go_out_in_order(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        client.infer({"a": np.ones(2, np.int64), "b": np.zeros(3, np.uint8)}, stream="s")
        self.assertEqual([i["name"] for i in server.requests[0]["inputs"]], ["a", "b"])
        self.assertEqual([len(t) for t in server.raw[0][2:]], [16, 3])

    def test_ids_are_unique_also_between_clients(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        with ttad.connect(server.endpoint) as other:
            ids = [c.infer(IMAGE, "s").id for c in (client, other, client, other)]
        self.assertEqual(len(set(ids)), 4)

    def test_what_the_server_does_not_compute_is_nan_or_empty(self):
        server, client = self.serve(
            lambda r, t: [
                answer(
                    r,
                    adapted=False,
                    skipped="not_finite",
                    loss=None,
                    entropy=None,
                    rolled_back_to=None,
                )
            ]
        )
        got = client.infer(IMAGE, "s")
        self.assertTrue(np.isnan(got.loss) and np.isnan(got.entropy))
        self.assertEqual((got.adapted, got.skipped, got.rolled_back_to), (False, "not_finite", ""))

    def test_a_large_batch_is_sent_without_a_copy_and_arrives_whole(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        x = np.random.default_rng(1).random((64, 3, 32, 32), np.float32)
        client.infer(x, "s")
        self.assertEqual(server.raw[0][2], x.tobytes())

    def test_submitted_arrays_may_be_changed_at_once(self):
        hold = threading.Event()

        def handler(r, t):
            hold.wait(5)
            return [answer(r)]

        server, client = self.serve(handler)
        x = np.ones((64, 3, 32, 32), np.float32)
        ids = [client.submit(x, "s") for _ in range(2)]
        x[:] = 0
        hold.set()
        for request in ids:
            client.result(request)
        for raw in server.raw:
            self.assertEqual(np.frombuffer(raw[2], "<f4").min(), 1)


class Threads(ClientTest):
    def test_a_call_while_another_thread_waits_is_refused_and_disturbs_nothing(self):
        came, hold = threading.Event(), threading.Event()

        def handler(r, t):
            came.set()
            hold.wait(5)
            return [answer(r)]

        server, client = self.serve(handler)
        got = []
        waits = threading.Thread(target=lambda: got.append(client.infer(IMAGE, "s")))
        waits.start()
        self.assertTrue(came.wait(5))
        for call in (lambda: client.infer(IMAGE, "s"), lambda: client.submit(IMAGE, "s"), client.close):
            with self.assertRaisesRegex(ttad.BadArgument, "another thread is using this client"):
                call()
        hold.set()
        waits.join(5)
        self.assertEqual(len(got), 1)
        client.infer(IMAGE, "s")  # it may change hands
        self.assertEqual(len(server.raw), 2)


class Order(ClientTest):
    def test_replies_out_of_order_reach_who_asked(self):
        held = []

        def handler(request, tensors):
            held.append(request)
            if len(held) < 3:
                return []
            return [
                answer(r, np.full((1, 1), i, np.float32))
                for i, r in reversed(list(enumerate(held)))
            ]

        server, client = self.serve(handler)
        ids = [client.submit(IMAGE, "s") for _ in range(3)]
        self.assertEqual([client.result(ids[i]).logits[0, 0] for i in (1, 0, 2)], [1, 0, 2])

    def test_an_id_under_way_is_not_sent_twice(self):
        server, client = self.serve(lambda r, t: [], timeout=0.2)
        client.submit(IMAGE, "s", id="1")
        with self.assertRaises(ttad.BadArgument):
            client.submit(IMAGE, "s", id="1")

    def test_a_result_can_be_had_once(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        request = client.submit(IMAGE, "s")
        client.result(request)
        with self.assertRaises(ttad.BadArgument):
            client.result(request)

    def test_a_late_reply_is_not_taken_for_the_next_one(self):
        first = []

        def handler(request, tensors):
            if not first:
                first.append(request)
                return []
            return [answer(first[0], np.zeros((1, 1), np.float32)), answer(request)]

        server, client = self.serve(handler)
        with self.assertRaises(ttad.Timeout):
            client.infer(IMAGE, "s", timeout=0.1)
        np.testing.assert_array_equal(client.infer(IMAGE, "s").logits, LOGITS)

    def test_the_first_of_two_replies_counts(self):
        other = np.zeros((1, 1), np.float32)
        server, client = self.serve(lambda r, t: [answer(r), answer(r, other)])
        first = client.submit(IMAGE, "s")
        client.infer(IMAGE, "s")  # both replies to the first have arrived by now
        np.testing.assert_array_equal(client.result(first).logits, LOGITS)

    def test_a_doubled_reply_is_dropped(self):
        server, client = self.serve(lambda r, t: [answer(r), answer(r)])
        for _ in range(3):
            np.testing.assert_array_equal(client.infer(IMAGE, "s").logits, LOGITS)


class Failures(ClientTest):
    def test_every_code_is_an_exception_of_its_kind(self):
        kinds = {
            "BAD_HEADER": ttad.BadRequest,
            "BAD_TENSOR": ttad.BadRequest,
            "BAD_SHAPE": ttad.BadRequest,
            "TOO_LARGE": ttad.BadRequest,
            "NOT_FINITE": ttad.BadRequest,
            "NO_MODEL": ttad.NotFound,
            "NO_STREAM": ttad.NotFound,
            "BUSY": ttad.Busy,
            "DEADLINE": ttad.DeadlineMissed,
            "DRAINING": ttad.Draining,
            "WRONG_SHARD": ttad.WrongShard,
            "UNAUTHORIZED": ttad.Unauthorized,
            "INTERNAL": ttad.Internal,
            "CANCELLED": ttad.Cancelled,
            "NEW_ONE": ttad.TtadError,
        }
        server, client = self.serve(
            lambda r, t: error(r, r["parameters"]["stream_id"]), retry_busy=False
        )
        for code, kind in kinds.items():
            with self.subTest(code), self.assertRaises(ttad.TtadError) as e:
                client.infer(IMAGE, stream=code, id=code)
            self.assertIs(type(e.exception), kind)
            self.assertEqual((e.exception.code, e.exception.id), (code, code))
            self.assertEqual(str(e.exception), f"{code}: because of {code.lower()}")

    def test_silence_is_a_timeout_in_time(self):
        server, client = self.serve(lambda r, t: [])
        start = time.monotonic()
        with self.assertRaises(TimeoutError) as e:
            client.infer(IMAGE, "s", timeout=0.2)
        self.assertTrue(0.19 < time.monotonic() - start < 2)
        self.assertEqual(e.exception.code, "TIMEOUT")

    def test_an_absent_daemon_is_a_timeout_and_nothing_is_queued_for_it(self):
        with ttad.connect("ipc:///tmp/ttad-nobody-is-here.sock", timeout=0.2) as client:
            with self.assertRaises(ttad.Timeout) as e:
                client.infer(np.zeros((64, 3, 32, 32), np.float32), "s")
        self.assertIn("nothing takes requests at ipc:///tmp/ttad-nobody", str(e.exception))
        self.assertEqual(e.exception.code, "DISCONNECTED")

    def test_malformed_replies_are_errors_of_their_request(self):
        logits = {"name": "logits", "shape": [2, 3], "datatype": "FP32"}
        replies = (
            lambda r: [b"TTAD/9", b"{}"],
            lambda r: [b"TTAD/1"],
            lambda r: [b"TTAD/1", b"not json"],
            lambda r: frames({"id": r["id"], "outputs": [logits]}),
            lambda r: frames({"id": r["id"], "outputs": [logits]}, b"short"),
            lambda r: frames({"id": r["id"]}),
            lambda r: frames(
                {"id": r["id"], "parameters": 5, "outputs": [logits]}, LOGITS.tobytes()
            ),
            lambda r: answer(r, loss="high"),
            lambda r: answer(r, step=True),
        )
        server, client = self.serve(lambda r, t: [replies[int(r["parameters"]["stream_id"])](r)])
        for i in range(len(replies)):
            with self.subTest(i), self.assertRaises(ttad.BadReply):
                client.infer(IMAGE, stream=str(i))

    def test_an_error_without_an_id_goes_to_the_oldest_request(self):
        server, client = self.serve(lambda r, t: error({}, "BAD_HEADER"))
        with self.assertRaises(ttad.BadRequest):
            client.infer(IMAGE, "s")

    def test_a_broken_reply_leaves_the_client_usable(self):
        server, client = self.serve(
            lambda r, t: [[b"junk"]] if r["parameters"]["stream_id"] == "bad" else [answer(r)]
        )
        with self.assertRaises(ttad.BadReply):
            client.infer(IMAGE, "bad")
        np.testing.assert_array_equal(client.infer(IMAGE, "good").logits, LOGITS)

    def test_bad_arguments_are_refused_before_anything_is_sent(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        lost = ttad.connect("no such://endpoint")
        self.addCleanup(lost.close)
        for call in (
            lambda: client.infer(np.zeros(2), "s"),
            lambda: client.infer(IMAGE, "s", timeout=0),
            lambda: client.infer(IMAGE, "s" * 300000),
            lambda: client.feedback("1", np.zeros(2), "s"),
            lambda: client.feedback("1", np.zeros((2, 1), int), "s"),
            lambda: lost.infer(IMAGE, "s"),
        ):
            with self.assertRaises(ValueError):
                call()
        self.assertEqual(server.requests, [])

    def test_a_closed_client_says_so(self):
        server, client = self.serve(lambda r, t: [answer(r)])
        client.close()
        client.close()
        for call in (lambda: client.infer(IMAGE, "s"), client.ping, client.events):
            with self.assertRaises(ttad.Closed):
                call()

    def test_a_nonsense_retry_time_is_zero(self):
        for wait in (None, "soon", -5):
            self.assertEqual(from_reply({"code": "BUSY", "retry_after_ms": wait}).retry_after, 0)


class BusyServer(ClientTest):
    def test_busy_is_tried_again_under_the_same_id(self):
        def handler(request, tensors):
            return error(request, "BUSY", 5) if len(server.requests) < 4 else [answer(request)]

        server, client = self.serve(handler)
        x = np.ones((64, 3, 32, 32), np.float32)
        got = client.infer(x, "s")
        self.assertEqual([r["id"] for r in server.requests], [got.id] * 4)
        self.assertEqual({raw[2] for raw in server.raw}, {x.tobytes()})

    def test_the_servers_time_is_waited_for(self):
        times = []

        def handler(request, tensors):
            times.append(time.monotonic())
            return error(request, "BUSY", 150) if len(times) < 2 else [answer(request)]

        server, client = self.serve(handler)
        client.infer(IMAGE, "s")
        self.assertGreater(times[1] - times[0], 0.14)

    def test_busy_until_the_timeout_is_busy(self):
        server, client = self.serve(lambda r, t: error(r, "BUSY", 20), timeout=1)
        with self.assertRaises(ttad.Busy) as e:
            client.infer(IMAGE, "s")
        self.assertEqual(e.exception.retry_after, 0.02)
        self.assertGreater(len(server.requests), 1)

    def test_retrying_can_be_turned_off(self):
        server, client = self.serve(lambda r, t: error(r, "BUSY", 20), retry_busy=False)
        with self.assertRaises(ttad.Busy):
            client.infer(IMAGE, "s")
        self.assertEqual(len(server.requests), 1)

    def test_one_busy_request_does_not_hold_up_another(self):
        def handler(request, tensors):
            if request["id"] == "slow" and len(server.requests) < 4:
                return error(request, "BUSY", 30)
            return [answer(request)]

        server, client = self.serve(handler)
        client.submit(IMAGE, "s", id="slow")
        self.assertEqual(client.infer(IMAGE, "s", id="fast").id, "fast")
        self.assertEqual(client.result("slow").id, "slow")


class Again(ClientTest):
    def connected(self, handler, **options):
        """submit() waits for no connection: have one before."""

        def polite(r, t):
            return [frames({"op": "hello", "id": r["id"]})] if r["op"] == "hello" else handler(r, t)

        server, client = self.serve(polite, **options)
        client.hello()
        server.requests.clear()
        return server, client

    def lossy(self, **options):
        """A server that says nothing until it has been restarted."""
        silent = [True]
        server, client = self.connected(lambda r, t: [] if silent[0] else [answer(r)], **options)

        def restart():
            server.die()
            silent[0] = False
            server.live()

        return server, client, restart

    def test_draining_is_tried_again_and_the_next_server_answers(self):
        server, client = self.serve(
            lambda r, t: error(r, "DRAINING") if len(server.requests) < 4 else [answer(r)]
        )
        client.infer(IMAGE, "s", id="a")
        self.assertEqual([r["id"] for r in server.requests], ["a"] * 4)

    def test_draining_until_the_timeout_is_draining(self):
        server, client = self.serve(lambda r, t: error(r, "DRAINING"), timeout=1)
        with self.assertRaises(ttad.Draining):
            client.infer(IMAGE, "s")

    def test_silence_is_sent_again_under_the_same_id(self):
        server, client = self.serve(
            lambda r, t: [] if len(server.requests) < 3 else [answer(r)], try_timeout=0.03
        )
        x = np.ones((64, 3, 32, 32), np.float32)
        client.infer(x, "s", id="a")
        self.assertEqual([r["id"] for r in server.requests], ["a"] * 3)
        self.assertEqual({raw[2] for raw in server.raw}, {x.tobytes()})

    def test_what_a_dying_server_had_is_sent_to_the_next_one(self):
        server, client, restart = self.lossy()
        ids = [client.submit(IMAGE, "s") for _ in range(2)]
        server.wait_requests(2)
        restart()
        self.assertEqual([client.result(i).id for i in ids], ids)
        self.assertEqual([r["id"] for r in server.requests], ids * 2)

    def test_a_rollback_that_may_have_been_done_is_not_sent_again(self):
        for call in (
            lambda: client.rollback("s"),
            lambda: client.stream("s", "reset"),
            lambda: client.load("m", "m.onnx"),
            lambda: client.unload("m"),
            lambda: client.drain(),
        ):
            server, client, restart = self.lossy(try_timeout=0.03)
            timer = threading.Timer(0.15, restart)
            timer.start()
            with self.assertRaisesRegex(ttad.Disconnected, "it may have been carried out"):
                call()
            timer.join()
            self.assertEqual(len(server.requests), 1)

    def test_a_freeze_is_sent_again(self):
        server, client = self.serve(
            lambda r, t: [frames({"op": "freeze", "id": r["id"]})] if server.requests[1:] else [],
            try_timeout=0.05,
        )
        client.freeze("s")
        self.assertEqual(len(server.requests), 2)

    def test_nothing_is_sent_twice_if_that_is_wanted(self):
        server, client, restart = self.lossy(retry_busy=False, try_timeout=0.01)
        request = client.submit(IMAGE, "s")
        server.wait_requests(1)
        restart()
        with self.assertRaises(ttad.Disconnected):
            client.result(request)
        self.assertEqual(len(server.requests), 1)

    def test_a_second_answer_is_not_taken_for_the_reply_to_its_labels(self):
        def handler(r, t):
            if r["op"] == "infer":
                return [answer(r)]
            joined = frames({"op": "feedback", "id": r["id"], "parameters": {"n": 2}})
            return [answer(r), joined]

        server, client = self.serve(handler)
        client.infer(IMAGE, "s", id="a")
        self.assertEqual(client.feedback("a", np.array([1, 2]), "s")["n"], 2)

    def test_no_more_is_on_the_wire_than_there_is_credit_for(self):
        waiting = []

        def handler(r, t):
            if r["op"] == "infer":
                waiting.append(r)
                return []
            told = [answer(w, credit=2) for w in waiting]  # all at once, when it is asked to
            waiting.clear()
            return [*told, frames({"op": r["op"], "id": r["id"]})]

        server, client = self.connected(handler)
        ids = [client.submit(IMAGE, "s") for _ in range(12)]
        server.wait_requests(8)  # the default, as long as the server has told nothing
        client.cancel("nobody", "s")
        server.wait_requests(9 + 2)
        self.assertEqual([client.result(i).id for i in ids[:8]], ids[:8])
        client.cancel("nobody", "s")
        server.wait_requests(9 + 2 + 1 + 2)
        client.cancel("nobody", "s")
        self.assertEqual([client.result(i).id for i in ids[8:]], ids[8:])
        self.assertEqual(len(server.requests), 12 + 3)

    def test_a_request_that_waits_here_is_cancelled_here(self):
        def handler(r, t):
            said = {"op": "cancel", "id": r["id"], "parameters": {"state": "unknown"}}
            return [frames(said)] if r["op"] == "cancel" else []

        server, client = self.connected(handler)
        ids = [client.submit(IMAGE, "s") for _ in range(9)]
        self.assertEqual(client.cancel(ids[-1], "s")["state"], "unknown")
        with self.assertRaises(ttad.Cancelled):
            client.result(ids[-1])
        self.assertNotIn(ids[-1], [r["id"] for r in server.requests])
        self.assertEqual(server.requests[-1]["parameters"]["request_id"], ids[-1])


class OtherOps(ClientTest):
    def test_each_op_sends_its_header_and_gives_back_a_flat_dict(self):
        def handler(request, tensors):
            rows = {
                r: [{"name": "x"}] for r in ("streams", "models", "snapshots") if r == request["op"]
            }
            return [
                frames(
                    {
                        "op": request["op"],
                        "id": request["id"],
                        **rows,
                        "parameters": {"state": "frozen"},
                    }
                )
            ]

        server, client = self.serve(handler)
        stream = {"stream_id": "cam-7", "actor": "python"}
        calls = (
            (lambda: client.status(), "status", None),
            (lambda: client.ping(), "ping", None),
            (lambda: client.drain(), "drain", None),
            (lambda: client.freeze("cam-7"), "freeze", stream),
            (lambda: client.thaw("cam-7", reason="calm"), "thaw", {**stream, "reason": "calm"}),
            (lambda: client.snapshot("cam-7"), "snapshot", stream),
            (lambda: client.rollback("cam-7"), "rollback", stream),
            (
                lambda: client.rollback("cam-7", "ab12", "fog"),
                "rollback",
                {**stream, "version": "ab12", "reason": "fog"},
            ),
            (
                lambda: client.stream("cam-7", "open", policy="tent"),
                "stream",
                {"stream_id": "cam-7", "action": "open", "policy": "tent"},
            ),
            (lambda: client.reload(), "reload", {"actor": "python"}),
            (lambda: client.log_level("debug"), "log_level", {"level": "debug"}),
            (lambda: client.load("m", "m.onnx"), "load", {"path": "m.onnx", "actor": "python"}),
            (
                lambda: client.load("m", "m.onnx", replace=True),
                "load",
                {"path": "m.onnx", "replace": True, "actor": "python"},
            ),
            (lambda: client.unload("m"), "unload", {"actor": "python"}),
            (
                lambda: client.hello(),
                "hello",
                {"client": "python", "client_version": ttad.__version__},
            ),
        )
        for call, op, parameters in calls:
            with self.subTest(op):
                self.assertEqual(call()["state"], "frozen")
                request = server.requests[-1]
                self.assertEqual((request["op"], request.get("parameters")), (op, parameters))
                self.assertEqual("model_name" in request, op in ("load", "unload"))
        for op, call in (
            ("streams", client.streams),
            ("models", client.models),
            ("snapshots", lambda: client.snapshots("cam-7")),
        ):
            self.assertEqual(call(), [{"name": "x"}])
            self.assertEqual(server.requests[-1]["op"], op)

    def test_a_list_that_is_none_is_a_bad_reply(self):
        for rows in (None, {}, [1]):
            server, client = self.serve(lambda r, t: [frames({"id": r["id"], "streams": rows})])
            with self.assertRaises(ttad.BadReply):
                client.streams()

    def test_feedback_names_the_request_and_sends_int64(self):
        server, client = self.serve(
            lambda r, t: [frames({"op": "feedback", "id": r["id"], "parameters": {"joined": 3}})]
        )
        self.assertEqual(client.feedback("42", np.array([1, 2, 3], np.uint8), "cam-7")["joined"], 3)
        self.assertEqual(
            server.requests[0],
            {
                "op": "feedback",
                "id": "42",
                "parameters": {"stream_id": "cam-7"},
                "inputs": [
                    {
                        "name": "label",
                        "shape": [3],
                        "datatype": "INT64",
                        "parameters": {"binary_data_size": 24},
                    }
                ],
            },
        )
        self.assertEqual(server.raw[0][2], np.array([1, 2, 3], "<i8").tobytes())


class EventStream(ClientTest):
    def subscribe(self, **options):
        server, client = self.serve(lambda r, t: [])
        events = client.events(**options)
        self.addCleanup(events.close)
        server.wait_subscribed()
        return server, events

    def test_events_come_in_order_and_end_after_silence(self):
        server, events = self.subscribe(timeout=0.3)
        for seq in (5, 6, 7):
            server.publish("decision", seq, {"n": seq})
        self.assertEqual(
            [(e.topic, e.seq, e.data["n"], e.missed) for e in events],
            [("decision", n, n, 0) for n in (5, 6, 7)],
        )

    def test_a_gap_is_counted(self):
        server, events = self.subscribe(timeout=0.3)
        for seq in (5, 9, 10):
            server.publish("sample", seq, {})
        self.assertEqual([e.missed for e in events], [0, 3, 0])

    def test_only_the_topics_asked_for_arrive_and_others_are_no_gap(self):
        server, events = self.subscribe(topics=["decision"], timeout=0.3)
        server.publish("sample", 1, {})
        server.publish("decision", 2, {})
        server.publish("sample", 3, {})
        server.publish("decision", 4, {})
        self.assertEqual([(e.seq, e.missed) for e in events], [(2, 0), (4, 0)])

    def test_a_restarted_server_that_counts_from_one_is_no_gap(self):
        server, events = self.subscribe(timeout=0.3)
        for seq in (100, 1, 2):
            server.publish("state", seq, {})
        self.assertEqual([e.missed for e in events], [0, 0, 0])

    def test_closing_the_client_ends_its_subscriptions(self):
        server, client = self.serve(lambda r, t: [])
        events = client.events()
        client.close()
        with self.assertRaises(ttad.Closed):
            events.next(timeout=1)

    def test_waiting_has_an_end(self):
        server, events = self.subscribe()
        self.assertIsNone(events.next(timeout=0.05))

    def test_a_malformed_event_is_an_error_and_the_next_one_arrives(self):
        server, events = self.subscribe()
        server.publish("state", 1, b"{")
        server.publish("state", 2, {})
        with self.assertRaises(ttad.BadReply):
            events.next(timeout=5)
        self.assertEqual(events.next(timeout=5).seq, 2)


if __name__ == "__main__":
    unittest.main()
