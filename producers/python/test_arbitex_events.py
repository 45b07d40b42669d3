"""Tests of arbitex_events against moto, and against a client that fails. Run: python -m unittest"""

import gc
import json
import os
import subprocess
import sys
import threading
import unittest
import weakref
from unittest import mock

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402

from arbitex_events import Producer, SendError  # noqa: E402


def event(n, size=0):
    metadata = {"uid": str(n), "version": "1.1.0"}
    return {"time": 1773360000000 + n, "class_uid": 6003, "metadata": metadata, "x": "x" * size}


def received(sqs, url):
    """Returns the bodies of all messages in the queue."""
    bodies = []
    while True:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        if not messages:
            return bodies
        bodies += [m["Body"] for m in messages]
        for m in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])


def uids(bodies):
    events = [e for body in bodies for e in (lambda v: v if isinstance(v, list) else [v])(json.loads(body))]
    return sorted(int(e["metadata"]["uid"]) for e in events)


class Fake:
    """An SQS client that fails as told: one list of failing entry ids, or an exception, per request.

    It calls `during` in each request.
    """

    def __init__(self, *plan, sender_fault=False, during=lambda: None):
        self.plan, self.requests, self.sender_fault, self.during = list(plan), [], sender_fault, during

    def uids(self):
        return [uids([e["MessageBody"] for e in request]) for request in self.requests]

    def send_message_batch(self, QueueUrl, Entries):
        self.requests.append(Entries)
        step = self.plan.pop(0) if self.plan else []
        self.during()
        if isinstance(step, BaseException):
            raise step
        failed = [{"Id": i, "Code": "InvalidMessageContents" if self.sender_fault else "InternalError",
                   "SenderFault": self.sender_fault} for i in step]
        return {"Successful": [{"Id": e["Id"]} for e in Entries if e["Id"] not in step], "Failed": failed}


class MotoTest(unittest.TestCase):
    def setUp(self):
        self.mock = mock_aws()
        self.mock.start()
        self.addCleanup(self.mock.stop)
        self.sqs = boto3.client("sqs")
        self.url = self.sqs.create_queue(QueueName="q")["QueueUrl"]

    def test_events_share_messages(self):
        with Producer(self.url, client=self.sqs, max_seconds=0) as producer:
            for n in range(1050):
                producer.add(event(n))
        bodies = received(self.sqs, self.url)
        self.assertEqual(uids(bodies), list(range(1050)))
        self.assertEqual(len(bodies), 11)

    def test_one_event_is_an_object(self):
        with Producer(self.url, client=self.sqs) as producer:
            producer.add('{"time": 1, "metadata": {"uid": "7"}}')
        self.assertEqual(received(self.sqs, self.url), ['{"time": 1, "metadata": {"uid": "7"}}'])

    def test_large_events(self):
        with Producer(self.url, client=self.sqs, max_seconds=0) as producer:
            for n in range(20):
                producer.add(event(n, 200_000))
            producer.add(event(20, 1_000_000))
            with self.assertRaisesRegex(ValueError, "expected at most 1048574 bytes"):
                producer.add(event(21, 1_100_000))
        bodies = received(self.sqs, self.url)
        self.assertEqual(uids(bodies), list(range(21)))
        self.assertEqual(len(bodies), 21)

    def test_topic(self):
        sns = boto3.client("sns")
        topic = sns.create_topic(Name="t")["TopicArn"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        with Producer(topic_arn=topic, client=sns) as producer:
            for n in range(250):
                producer.add(event(n))
        self.assertEqual(uids(received(self.sqs, self.url)), list(range(250)))

    def test_threads(self):
        with Producer(self.url, client=self.sqs, max_seconds=0) as producer:
            def add(k):
                for n in range(300):
                    producer.add(event(1000 * k + n))

            threads = [threading.Thread(target=add, args=(k,)) for k in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        self.assertEqual(uids(received(self.sqs, self.url)), sorted(1000 * k + n for k in range(4) for n in range(300)))


class FailureTest(unittest.TestCase):
    def producer(self, fake, **options):
        return Producer("q", client=fake, max_seconds=0, max_events=1, sleep=lambda _: None, **options)

    def test_failed_entries_are_sent_again(self):
        fake = Fake(["1"], ConnectionError("reset"), ["0"])
        producer = self.producer(fake)
        for n in range(3):
            producer.add(event(n))
        producer.flush()
        self.assertEqual([[json.loads(e["MessageBody"])["metadata"]["uid"] for e in r] for r in fake.requests],
                         [["0", "1", "2"], ["1"], ["1"], ["1"]])

    def test_events_that_stay_unsent_are_returned(self):
        producer = self.producer(Fake(*[ConnectionError("no route")] * 5))
        producer.add(event(1))
        with self.assertRaisesRegex(SendError, "1 events were not sent: no route") as caught:
            producer.flush()
        self.assertEqual(json.loads(caught.exception.events[0]), event(1))
        producer.flush()

    def test_refused_entries_are_not_sent_again(self):
        fake, errors = Fake(["0"], sender_fault=True), []
        producer = self.producer(fake, on_error=errors.append)
        producer.add(event(1))
        producer.add(event(2))
        producer.flush()
        self.assertEqual(len(fake.requests), 1)
        self.assertEqual([json.loads(e) for e in errors[0].events], [event(1)])

    def test_the_timer_sends(self):
        sent = threading.Event()

        class Signal(Fake):
            def send_message_batch(self, QueueUrl, Entries):
                sent.set()
                return super().send_message_batch(QueueUrl, Entries)

        producer = Producer("q", client=Signal(), max_seconds=0.01)
        producer.add(event(1))
        self.assertTrue(sent.wait(10))
        producer.close()

    def unsent(self, call, *arguments):
        """Returns the ids in the SendError that the call raises."""
        with self.assertRaises(SendError) as caught:
            call(*arguments)
        return uids(caught.exception.events)

    def test_flush_waits_for_the_requests_of_other_threads(self):
        for start in (Producer._expire, Producer.flush):  # as the timer does, and as another thread does
            entered, waiting = threading.Event(), threading.Event()
            fake = Fake(during=lambda: (entered.set(), waiting.wait(10)))
            producer = self.producer(fake)
            producer.add(event(1))
            other = threading.Thread(target=start, args=(producer,))
            other.start()
            entered.wait(10)
            wait_for, confirmed = producer._lock.wait_for, []
            producer._lock.wait_for = lambda done: (waiting.set(), wait_for(done), confirmed.append(done()))
            fake.during = lambda: None
            try:
                producer.close()
            finally:
                waiting.set()
                other.join()
            self.assertTrue(confirmed and all(confirmed))
            self.assertEqual(fake.uids(), [[1]])

    def test_flush_does_not_wait_for_later_requests(self):
        entered, release = threading.Event(), threading.Event()

        def later():
            fake.during = lambda: (entered.set(), release.wait(10))
            producer.add(event(2))
            other.start()
            entered.wait(10)

        fake = Fake(during=later)
        producer = self.producer(fake)
        other = threading.Thread(target=producer.flush)
        producer.add(event(1))
        producer.flush()
        self.assertTrue(other.is_alive())
        release.set()
        other.join()

    def test_a_failure_of_the_timer_reaches_flush_that_waited(self):
        entered, waiting = threading.Event(), threading.Event()
        fake = Fake(ConnectionError("reset"), during=lambda: (entered.set(), waiting.wait(10)))
        producer = self.producer(fake, attempts=1)
        producer.add(event(1))
        timer = threading.Thread(target=producer._expire)
        timer.start()
        entered.wait(10)
        wait_for = producer._lock.wait_for
        producer._lock.wait_for = lambda done: (waiting.set(), wait_for(done))
        self.assertEqual(self.unsent(producer.close), [1])
        timer.join()

    def test_an_earlier_failure_does_not_keep_events_from_being_sent(self):
        for call, plan, unsent in (
            (Producer.flush, [], [1]), (Producer.close, [], [1]), (Producer.__exit__, [], [1]),
            (Producer.close, [ConnectionError("reset")], [1, 2]),
        ):
            fake = Fake(ConnectionError("reset"), *plan)
            producer = self.producer(fake, attempts=1)
            fake.during = lambda: (setattr(fake, "during", lambda: None), producer.add(event(2)))
            producer.add(event(1))
            producer._expire()
            self.assertEqual(self.unsent(call, producer), unsent)
            self.assertEqual(fake.uids(), [[1], [2]])
            producer.close()

    def test_failures_are_joined(self):
        fake = Fake(ConnectionError("reset"), ConnectionError("no route"))
        producer = self.producer(fake, attempts=1)
        fake.during = lambda: (setattr(fake, "during", lambda: None), producer.add(event(2)))
        producer.add(event(1))
        producer._expire()
        producer._expire()
        with self.assertRaisesRegex(SendError, "2 events were not sent: no route") as caught:
            producer.close()
        self.assertEqual([json.loads(e) for e in caught.exception.events], [event(1), event(2)])

    def test_add_accepts_its_event_before_it_raises_an_earlier_failure(self):
        fake = Fake(ConnectionError("reset"))
        producer = self.producer(fake, attempts=1)
        producer.add(event(1))
        producer._expire()
        self.assertEqual(self.unsent(producer.add, event(2)), [1])
        producer.close()
        self.assertEqual(fake.uids(), [[1], [2]])

    def test_events_of_an_interrupted_request_are_sent_again(self):
        fake = Fake(["0"], KeyboardInterrupt(), sender_fault=True)
        with self.assertRaises(SendError) as caught, self.producer(fake, max_bytes=1_000_000) as producer:
            producer.add(event(1, 900_000))
            producer.add(event(2, 900_000))
            with self.assertRaises(KeyboardInterrupt):
                producer.flush()
            fake.plan = [["0"]]
        self.assertEqual((fake.uids(), uids(caught.exception.events)), ([[1], [2], [1], [2]], [1]))

    def test_an_interrupted_flush_keeps_its_failure(self):
        producer = self.producer(Fake(ConnectionError("reset")), attempts=1)
        producer.add(event(1))
        with mock.patch.object(producer._lock, "wait_for", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, producer.flush)
        self.assertEqual(self.unsent(producer.flush), [1])

    def test_on_error_may_call_flush(self):
        fake = Fake(ConnectionError("reset"))
        again = lambda error: (producer.add(error.events[0]), producer.flush())  # noqa: E731
        producer = self.producer(fake, attempts=1, on_error=again)
        producer.add(event(1))
        producer._expire()
        self.assertEqual(fake.uids(), [[1], [1]])

    def test_events_that_are_not_json_are_not_accepted(self):
        for bad, found in (
            ({"time": float("nan")}, "invalid JSON: Out of range float"),
            ({"time": {1}}, "invalid JSON: Object of type set"),
            ('{"time":NaN}', "invalid JSON: NaN"), (b'{"time":-Infinity}', "invalid JSON: -Infinity"),
            ('{"time":1', "invalid JSON"), ('{"time":1},{}', "invalid JSON"), ("{" + '"a":{' * 100_000, "invalid JSON"),
            ('{"a":"\n"}', "invalid JSON"), ("", "no text"), (b" \n", "no text"),
            (b'{"a":"\xff"}', "invalid UTF-8"), ('{"a":"\ud800"}', "invalid UTF-8"),
            ('{"time":1}'.encode("utf-16"), "invalid UTF-8"), ("[]", r"a value that begins with '\['"),
            ([event(1)], r"a value that begins with '\['"), ("1", "a value that begins with '1'"),
        ):
            with self.subTest(repr(bad)[:40]):
                fake = Fake()
                with self.producer(fake) as producer:
                    with self.assertRaisesRegex(ValueError, "^event: expected a JSON object in UTF-8, found " + found):
                        producer.add(bad)
                self.assertEqual(fake.requests, [])

    def test_the_text_of_an_event_stays(self):
        number = "9" * 5000
        for given, sent in (
            (f'{{"a" : 1.50e3, "b":{number}, "c":-0}}', None), (b'\xef\xbb\xbf {"a":"\xc3\xa4"}\r\n', '{"a":"ä"}'),
            ('\ufeff{"a":1}\n', '{"a":1}'), (bytearray(b'{"a":1}'), '{"a":1}'),
            ('{"\ufffe":"\\\\\uffff\ufffd"}', '{"\\ufffe":"\\\\\\uffff\ufffd"}'),
        ):
            fake = Fake()
            with self.producer(fake) as producer:
                producer.add(given)
            self.assertEqual(fake.requests[0][0]["MessageBody"], sent or given)

    def test_a_producer_is_collected_once_its_events_are_sent(self):
        def late(producer):
            producer._client.plan = [ConnectionError("reset")] * 5
            producer._expire()
            self.unsent(producer.flush)

        for send in (Producer.close, Producer._expire, late):
            producer = self.producer(Fake())
            producer.add(event(1))
            send(producer)
            reference = weakref.ref(producer)
            del producer
            gc.collect()
            self.assertIsNone(reference())

    def test_close_stops_the_timer(self):
        producer = Producer("q", client=Fake(), max_seconds=600)
        producer.add(event(1))
        timer = producer._timer
        producer.close()
        timer.join(10)
        self.assertFalse(timer.is_alive())

    def run_script(self, script):
        """Runs a script whose client prints what it sends. Returns its two outputs."""
        prelude = """if True:
            import gc, json, os, sys, threading
            from arbitex_events import Producer

            class Client:
                def send_message_batch(self, QueueUrl, Entries):
                    if QueueUrl == "broken":
                        raise ConnectionError("no route")
                    os.write(1, b"".join(e["MessageBody"].encode() for e in Entries))
                    return {"Successful": Entries}
        """
        done = subprocess.run([sys.executable, "-B", "-W", "ignore", "-c", prelude + script], capture_output=True,
                              cwd=os.path.dirname(os.path.abspath(__file__)), check=True, text=True, timeout=60)
        return done.stdout, done.stderr

    def test_exit_sends(self):
        self.assertEqual(self.run_script("""
            Producer("q", client=Client(), max_seconds=60).add({"a": 1})
            Producer("q", client=Client(), max_seconds=0).add({"a": 1})
            gc.collect()
        """), ('{"a": 1}{"a": 1}', ""))

    def test_exit_prints_failures(self):
        out, err = self.run_script("""
            Producer("broken", client=Client(), attempts=1).add({"a": 1})
            Producer("broken", client=Client(), attempts=1).add({"a": 2})
            Producer("q", client=Client()).add({"a": 3})
        """)
        self.assertEqual(err.count("SendError: 1 events were not sent: no route"), 2)
        self.assertEqual(out, '{"a": 3}')

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_a_forked_child_does_not_send_the_events_of_its_parent(self):
        self.assertEqual(self.run_script("""
            entered, release = threading.Event(), threading.Event()

            class Slow(Client):
                def send_message_batch(self, QueueUrl, Entries):
                    entered.set()
                    release.wait(10)
                    return super().send_message_batch(QueueUrl, Entries)

            producer = Producer("q", client=Slow(), max_seconds=60)
            producer.add({"parent": 1})
            threading.Thread(target=producer.flush).start()
            entered.wait(10)
            producer.add({"parent": 2})
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                producer.add({"child": 1})
            release.set()
        """), ('{"child": 1}{"parent": 1}{"parent": 2}', ""))

    def test_arguments(self):
        for arguments in ({}, {"queue_url": "q", "topic_arn": "t"}, {"queue_url": "q", "max_bytes": 2_000_000}):
            with self.assertRaises(ValueError):
                Producer(client=Fake(), **arguments)


if __name__ == "__main__":
    unittest.main()
