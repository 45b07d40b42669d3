"""Sends OCSF events to ArbitexSIEM connectors through SQS or SNS. One file; needs boto3 only.

    from arbitex_events import Producer

    with Producer(queue_url="https://sqs.eu-central-1.amazonaws.com/123456789012/arbitex-siem-splunk") as producer:
        producer.add({"time": 1773360000000, "class_uid": 6003, "metadata": {"uid": "42", "version": "1.1.0"}})

A message holds up to 100 events or 256 KB, or what arrived within a second of its first event. SQS and Lambda bill by
message, so that a hundred events in a message cost a third of a hundred messages. A request holds up to ten messages.
Entries that AWS refuses temporarily are sent again with back-off; events that cannot be sent raise SendError, or go to
on_error. An event can arrive twice, but none is dropped silently. Events that still wait when the process exits are
sent then; their failure can only be printed. Use `with`, close or flush to learn of failures, and wherever a process
ends or freezes without Python's exit handlers: os._exit, children of multiprocessing, signals, AWS Lambda.
"""

import atexit
import json
import os
import random
import threading
import time
import traceback

MAX_MESSAGE_BYTES = 1024 * 1024  # of a message, and of an SQS request
MAX_SNS_REQUEST_BYTES = 256 * 1024  # of a PublishBatch request
MAX_ENTRIES = 10  # messages in a request

_TEMPORARY = {"ThrottlingException", "Throttling", "RequestThrottled", "InternalError", "InternalFailure",
              "ServiceUnavailable", "KmsThrottled", "OverLimit"}


_unsettled = set()  # producers that have events to send or a failure to raise: kept from garbage collection


def _close_all():
    for producer in list(_unsettled):
        try:
            producer.close()
        except Exception:
            traceback.print_exc()


def _reset_all():
    for producer in list(_unsettled):
        producer._reset()
    _unsettled.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)  # the parent sends what it has; its threads are not in the child


class SendError(Exception):
    """Some events were not sent. `events` has them as bytes, `reason` the last error. Each is reported once."""

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
    on_error: called with a SendError instead of raising it, also from the timer's thread. A flush
        in it does not wait for other threads.
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
        self._reset()

    def _reset(self):
        self._lock = threading.Condition()  # guards what follows
        self._events, self._bytes = [], 2  # of the message being filled; the brackets
        self._ready = []  # full messages: lists of events
        self._taken = 0  # number of the last batch of messages
        self._sending = {}  # numbers of the batches that are being sent: the thread
        self._timer = None
        self._late = None  # a SendError of the timer's thread, for the next call

    def add(self, event):
        """Adds one event: a dict, or JSON as str or bytes, whose text stays as it is. Sends when a request is full.

        ValueError: the event was not accepted. SendError: the event was accepted, and `events` were not sent: earlier
        ones, and this one only if it is among them.
        """
        data = _encode(event)
        if len(data) + 2 > MAX_MESSAGE_BYTES:
            raise ValueError(f"event: expected at most {MAX_MESSAGE_BYTES - 2} bytes, found {len(data)}")
        with self._lock:
            self._arm()
            _unsettled.add(self)
            too_many = self._bytes + len(data) + 1 > self._max_bytes or len(self._events) >= self._max_events
            if self._events and too_many:
                self._close_message()
            self._events.append(data)
            self._bytes += len(data) + 1
            if len(self._events) >= self._max_events:
                self._close_message()
            full = self._take() if len(self._ready) >= MAX_ENTRIES else None
        self._raise(self._send(*full) if full else None)

    def flush(self):
        """Sends everything that was added, and returns when SQS or SNS has confirmed it.

        Waits for other threads that are sending, too. A failure of their add or flush is raised there.
        """
        with self._lock:
            self._close_message()
            number, messages = self._take()
        error = self._send(number, messages)
        with self._lock:
            try:
                if threading.get_ident() not in self._sending.values():  # else on_error or a signal handler calls
                    self._lock.wait_for(lambda: all(n > number for n in self._sending))
            except BaseException:  # an interrupt
                self._late = _join(self._late, error)
                raise
        self._raise(error)

    def close(self):
        """The same as flush, which also stops the timer."""
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
        """Returns the number of a batch and its messages, for _send."""
        if self._timer is not None and not self._events:
            self._timer.cancel()
            self._timer = None
        self._taken += 1
        self._sending[self._taken] = threading.get_ident()
        messages, self._ready = self._ready, []
        return self._taken, messages

    def _arm(self):
        if self._max_seconds > 0 and self._timer is None:
            timer = threading.Timer(self._max_seconds, self._expire)
            timer.daemon = True
            timer.start()
            self._timer = timer

    def _expire(self):
        with self._lock:
            self._close_message()
            number, messages = self._take()
        self._send(number, messages, late=True)

    def _send(self, number, messages, late=False):
        """Sends a batch. Returns a SendError or None; with late, it is for the next call."""
        failed, reason, error = [], None, None
        try:
            for request in self._requests([b"[" + b",".join(m) + b"]" if len(m) > 1 else m[0], m] for m in messages):
                unsent, why = self._send_request(request)
                failed += unsent
                reason = why or reason
                messages = messages[len(request):]
            if failed:
                error = SendError([event for _, events in failed for event in events], reason)
                failed = []
                if self._on_error is not None:
                    self._on_error(error)
                    error = None
            return error
        finally:
            with self._lock:
                self._ready += [m for _, m in failed] + messages  # of an interrupted request (Ctrl-C)
                if late:
                    self._late = _join(self._late, error)
                self._sending.pop(number, None)  # None: in a forked child
                self._settle()
                self._lock.notify_all()

    def _raise(self, error):
        """Raises error and what the timer's thread has left as one."""
        with self._lock:
            error, self._late = _join(self._late, error), None
            self._settle()
        if error is not None:
            raise error

    def _settle(self):
        if not (self._events or self._ready or self._sending or self._late):
            _unsettled.discard(self)

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


def _join(first, second):
    if first is None or second is None:
        return first or second
    return SendError(first.events + second.events, second.reason)


def _encode(event):
    """Returns the JSON of an event. One that is not valid JSON would spoil its whole message."""
    expected = "event: expected a JSON object in UTF-8, found"
    try:
        if isinstance(event, (str, bytes, bytearray)):
            text = event if isinstance(event, str) else event.decode()
            text = text.removeprefix("\ufeff").strip(" \t\r\n")
            if text:
                json.loads(text, parse_int=float, parse_constant=_refuse)
        else:
            text = json.dumps(event, allow_nan=False)
        # SQS refuses these two characters. Valid JSON has them only in strings.
        data = text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff").encode()
    except UnicodeError as error:
        raise ValueError(f"{expected} invalid UTF-8: {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{expected} invalid JSON: {error}") from error
    if not text:
        raise ValueError(f"{expected} no text")
    if text[0] != "{":
        raise ValueError(f"{expected} a value that begins with {text[0]!r}")
    return data


def _refuse(constant):
    raise ValueError(f"{constant} is not JSON")
