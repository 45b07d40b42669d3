# moto's server on a free loopback port. The first line of its output is the port. It ends when its standard input is
# closed, so it does not outlive the program that started it.
#
# moto handles each request in its own thread. Two requests that change one queue, or test and then write one object,
# race: a message is received twice, or a deletion removes a message that has just been sent. This server serializes
# them.
import functools
import logging
import os
import sys
import threading
import time

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs import models as sqs
from werkzeug.serving import make_server

turn = threading.RLock()  # a queue that waits for messages gives its turn away


def in_turn(call):
    @functools.wraps(call)
    def wrapped(*args, **kwargs):
        with turn:
            return call(*args, **kwargs)

    return wrapped


def serialise_queues():
    sqs.Condition = lambda: threading.Condition(turn)
    for name in (
        "change_message_visibility",
        "change_message_visibility_batch",
        "create_queue",
        "delete_message",
        "delete_message_batch",
        "purge_queue",
        "receive_message",
        "send_message",
        "send_message_batch",
    ):
        setattr(sqs.SQSBackend, name, in_turn(getattr(sqs.SQSBackend, name)))


def hasten_queues():
    # For each message that it hands out moto counts those of the whole queue, and asks the time in three steps for each
    # of them, only to learn how long the queue keeps a message: minutes, for a few thousand.
    sqs.unix_time = time.time
    sqs.unix_time_millis = lambda: time.time() * 1000
    sqs.SQSBackend.is_message_valid_based_on_retention_period = lambda self, name, message: (
        message.sent_timestamp / 1000 + self.get_queue(name).message_retention_period > time.time()
    )


class Visible:
    """The messages of a queue that may be received now, looked for as far as somebody looks."""

    def __init__(self, queue):
        self.queue = queue

    def __iter__(self):
        return (m for m in tuple(self.queue._messages) if m.visible and not m.delayed)

    def __bool__(self):
        return any(True for _ in self)

    def __len__(self):
        return sum(1 for _ in self)


def look_no_further():
    # For each receive, moto lists all visible messages. For each send, it counts them three times for attributes that
    # it does not use. For each deletion, it scans them twice. A hundred thousand messages would take hours.
    attributes, send_message = sqs.Queue.attributes.fget, sqs.SQSBackend.send_message
    sending = threading.local()

    def send(*args, **kwargs):
        sending.now = True
        try:
            return send_message(*args, **kwargs)
        finally:
            sending.now = False

    def delete_message(queue, handle):
        if handle in queue.deleted_messages:
            return
        for i, message in enumerate(queue._messages):
            if message.had_receipt_handle(handle):
                queue.pending_messages.discard(message)
                queue.deleted_messages.update(message.all_receipt_handles)
                del queue._messages[i]
                return
        raise sqs.ReceiptHandleIsInvalid()

    sqs.SQSBackend.send_message = send
    sqs.Queue.attributes = property(
        lambda queue: {} if getattr(sending, "now", False) and not queue.fifo_queue else attributes(queue)
    )
    sqs.Queue.messages = property(Visible)
    sqs.Queue.delete_message = delete_message


def serialise_objects(app):
    def wrapped(environ, start_response):
        if "/s3/aws4_request" not in environ.get("HTTP_AUTHORIZATION", ""):
            return app(environ, start_response)
        with turn:
            return list(app(environ, start_response))

    return wrapped


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


look_no_further()
hasten_queues()
serialise_queues()
logging.getLogger("werkzeug").setLevel(logging.ERROR)
application = serialise_objects(DomainDispatcherApplication(create_backend_app))
server = make_server("127.0.0.1", 0, application, threaded=True)
os.environ["MOTO_PORT"] = str(server.port)
threading.Thread(target=end_with_parent, daemon=True).start()
print(server.port, flush=True)
server.serve_forever()
