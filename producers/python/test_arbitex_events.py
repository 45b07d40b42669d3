"""Tests of arbitex_events against moto, and against a client that fails. Run: python -m unittest"""

import json
import os
import threading
import unittest

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
    """An SQS client that fails as told: one list of failing entry ids, or an exception, per request."""

    def __init__(self, *plan, sender_fault=False):
        self.plan, self.requests, self.sender_fault = list(plan), [], sender_fault

    def send_message_batch(self, QueueUrl, Entries):
        self.requests.append(Entries)
        step = self.plan.pop(0) if self.plan else []
        if isinstance(step, Exception):
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

    def test_arguments(self):
        for arguments in ({}, {"queue_url": "q", "topic_arn": "t"}, {"queue_url": "q", "max_bytes": 2_000_000}):
            with self.assertRaises(ValueError):
                Producer(client=Fake(), **arguments)


if __name__ == "__main__":
    unittest.main()
