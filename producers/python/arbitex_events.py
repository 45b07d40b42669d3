"""Sends OCSF events to ArbitexSIEM connectors through SQS or SNS. One file; needs boto3 only.

    from arbitex_events import Producer

    with Producer(queue_url="https://sqs.eu-central-1.amazonaws.com/123456789012/arbitex-siem-splunk") as producer:
        producer.add({"time": 1773360000000, "class_uid": 6003, "metadata": {"uid": "42", "version": "1.1.0"}})

A message holds up to 100 events or 256 KB, or what arrived within a second of its first event. SQS and Lambda bill by
message, so that a hundred events in a message cost a third of a hundred messages. A request holds up to ten messages.
Entries that AWS refuses temporarily are sent again with back-off; events that cannot be sent raise SendError, or go to
on_error. An event can arrive twice, but none is dropped silently.
"""

import json
import random
import threading
import time

MAX_MESSAGE_BYTES = 1024 * 1024  # of a message, and of an SQS request
MAX_SNS_REQUEST_BYTES = 256 * 1024  # of a PublishBatch request
MAX_ENTRIES = 10  # messages in a request

_TEMPORARY = {"ThrottlingException", "Throttling", "RequestThrottled", "InternalError", "InternalFailure",
              "ServiceUnavailable", "KmsThrottled", "OverLimit"}


class SendError(Exception):
    """Some events were not sent. `events` has them as bytes, `reason` the last error."""

    def __init__(self, events, reason):
        super().__init__(f"{len(events)} events were not sent: {reason}")
        self.events = events
        self.reason = reason


class Producer:
    """Collects events and sends them. Safe for use by several threads.

    queue_url or topic_arn: the destination; exactly one of them.
    client: a boto3 client for SQS or SNS; by default one with the usual configuration.
    max_bytes, max_events, max_seconds: a message is sent when one of them is reached. With max_seconds=0, time does not
        trigger a send.
    attempts: requests for one message before its events fail.
    on_error: called with a SendError instead of raising it from the background thread, flush and close.
    """

    def __init__(self, queue_url=None, topic_arn=None, *, client=None, max_bytes=256 * 1024, max_events=100,
                 max_seconds=1.0, attempts=5, on_error=None, sleep=time.sleep):
        if (queue_url is None) == (topic_arn is None):
            raise ValueError("expected exactly one of queue_url and topic_arn")
        if not 0 < max_bytes <= MAX_MESSAGE_BYTES:
            raise ValueError(f"max_bytes: expected 1 to {MAX_MESSAGE_BYTES}, found {max_bytes}")
        if client is None:
            import boto3
            client = boto3.client("sqs" if queue_url else "sns")
        self._client, self._queue_url, self._topic_arn = client, queue_url, topic_arn
        self._max_bytes, self._max_events, self._max_seconds = max_bytes, max_events, max_seconds
        self._attempts, self._on_error, self._sleep = attempts, on_error, sleep
        self._lock = threading.Lock()
        self._events, self._bytes = [], 2  # of the message being filled; the brackets
        self._ready = []  # full messages: lists of events
        self._timer = None
        self._failed = None  # a SendError of the background thread, for the next call

    def add(self, event):
        """Adds one event: a dict, or JSON as str or bytes. Sends when a request is full."""
        data = event if isinstance(event, bytes) else (event if isinstance(event, str) else json.dumps(event)).encode()
        if len(data) + 2 > MAX_MESSAGE_BYTES:
            raise ValueError(f"event: expected at most {MAX_MESSAGE_BYTES - 2} bytes, found {len(data)}")
        self._raise_earlier()
        with self._lock:
            too_many = self._bytes + len(data) + 1 > self._max_bytes or len(self._events) >= self._max_events
            if self._events and too_many:
                self._close_message()
            self._events.append(data)
            self._bytes += len(data) + 1
            if len(self._events) >= self._max_events:
                self._close_message()
            full = self._take() if len(self._ready) >= MAX_ENTRIES else []
            self._arm()
        self._send(full)

    def flush(self):
        """Sends everything that was added, and returns when SQS or SNS has confirmed it."""
        self._raise_earlier()
        with self._lock:
            self._close_message()
            messages = self._take()
        self._send(messages)

    def close(self):
        """Flushes and stops the timer."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _close_message(self):
        if self._events:
            self._ready.append(self._events)
            self._events, self._bytes = [], 2

    def _take(self):
        messages, self._ready = self._ready, []
        return messages

    def _arm(self):
        if self._max_seconds > 0 and self._timer is None and (self._events or self._ready):
            self._timer = threading.Timer(self._max_seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self):
        with self._lock:
            self._timer = None
            self._close_message()
            messages = self._take()
        try:
            self._send(messages)
        except SendError as error:
            self._failed = error

    def _raise_earlier(self):
        error, self._failed = self._failed, None
        if error is not None:
            raise error

    def _send(self, messages):
        failed, reason = [], None
        for request in self._requests([b"[" + b",".join(m) + b"]" if len(m) > 1 else m[0], m] for m in messages):
            unsent, why = self._send_request(request)
            failed += [event for _, events in unsent for event in events]
            reason = why or reason
        if failed:
            error = SendError(failed, reason)
            if self._on_error is None:
                raise error
            self._on_error(error)

    def _requests(self, messages):
        """Yields lists of messages that fit into one request."""
        limit = MAX_MESSAGE_BYTES if self._queue_url else max(MAX_SNS_REQUEST_BYTES, self._max_bytes)
        request, size = [], 0
        for body, events in messages:
            if request and (len(request) == MAX_ENTRIES or size + len(body) > limit):
                yield request
                request, size = [], 0
            request.append((body, events))
            size += len(body)
        if request:
            yield request

    def _send_request(self, request):
        """Returns the messages that were not accepted, and why."""
        reason, refused = None, []
        for attempt in range(self._attempts):
            if attempt > 0:
                self._sleep(random.uniform(0.5, 1) * min(0.2 * 2 ** attempt, 10))
            try:
                response = self._call([(str(i), body.decode()) for i, (body, _) in enumerate(request)])
            except Exception as error:  # boto3 has no common class for the errors of network, credentials and service
                reason = str(error)
                continue
            accepted = {entry["Id"] for entry in response.get("Successful", [])}
            errors = {entry["Id"]: entry for entry in response.get("Failed", [])}
            again = []
            for i, message in enumerate(request):
                if str(i) in accepted:
                    continue
                entry = errors.get(str(i), {})
                reason = f"{entry.get('Code', 'no confirmation')} {entry.get('Message', '')}".strip()
                final = entry.get("SenderFault") and entry.get("Code") not in _TEMPORARY
                (refused if final else again).append(message)
            request = again
            if not request:
                break
        return refused + request, reason

    def _call(self, entries):
        if self._queue_url:
            return self._client.send_message_batch(
                QueueUrl=self._queue_url, Entries=[{"Id": i, "MessageBody": body} for i, body in entries])
        return self._client.publish_batch(
            TopicArn=self._topic_arn, PublishBatchRequestEntries=[{"Id": i, "Message": body} for i, body in entries])
