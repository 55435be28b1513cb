"""A service and a caller of Hailo H2, written from its wire alone.

    python peer.py URL serve SERVICE NAME
    python peer.py URL call SERVICE TIMES

`serve` registers with discovery, answers pings, and answers requests with what it
was sent; a service made for the thin API, `PREFIX.api.*`, says in an api.Response
what came. It prints `registered`, then one line for every request it runs.
`call` sends requests through the exchange h2o, checks every property and header of
the answers, and prints `answered N by M`.
"""

import argparse
import json
import sys
import uuid

import pika

PREFIX = "com.hailocab"
PROTOBUF = "application/octetstream"
REQUEST_HEADERS = (
    "messageType", "service", "endpoint", "traceID", "traceShouldPersist",
    "sessionID", "parentMessageID", "from", "remoteAddr", "authorised",
)


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def number(field, value):
    return varint(field << 3) + varint(value)


def fields(message):
    """Each field's number and its bytes; H2's thin API has no others."""
    while message:
        tag, message = message[0], message[1:]
        expect(tag & 7 == 2, tag)
        length, shift = 0, 0
        while True:
            byte, message = message[0], message[1:]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield tag >> 3, message[:length]
        message = message[length:]


def api_response(properties, body):
    """An api.Response that says what an api.Request and its headers say."""
    said = {"get": {}, "post": {}, "header": [],
            "session": properties.headers["sessionID"], "trace": properties.headers["traceID"],
            "kept": properties.headers["traceShouldPersist"],
            "remote": properties.headers["remoteAddr"].split(":")[0],
            "from": properties.headers["from"]}
    names = {1: "path", 2: "verb", 3: "get", 4: "post", 5: "header", 6: "body"}
    for field, value in fields(body):
        name = names[field]
        if name in ("get", "post"):
            pair = [text.decode() for _, text in fields(value)]
            said[name][pair[0]] = pair[1]
        elif name == "header":
            said[name].append(value.decode())
        else:
            said[name] = value.decode()
    return number(1, 202) + text(2, "X-Said: yes") + text(3, json.dumps(said))


def registration(instance, service):
    """com.hailocab.kernel.discovery.multiregister: every field that H2 sends."""
    program = (text(1, service) + text(2, "says hello") + number(3, 20130624113616)
               + text(4, "github.com/hailocab/hello") + text(5, "a@b") + text(6, "") + text(7, ""))
    endpoints = b"".join(
        text(5, text(1, name) + number(2, 50) + number(3, 100) + text(4, ""))
        for name in ("hello", "health", "stats"))
    return (text(1, instance) + text(2, "a-host") + text(3, "eu-west-1a") + text(4, program)
            + endpoints + text(6, "default"))


class Bus:
    """One connection, and one queue as H2's own consumer declares it."""

    def __init__(self, url, queue):
        self.queue = queue
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.queue_declare(
            queue, durable=False, auto_delete=True, exclusive=False,
            arguments={"x-message-ttl": 5000, "x-expires": 30000})
        self.channel.queue_bind(queue, "h2o.direct", queue)

    def request(self, service, endpoint, body):
        values = dict.fromkeys(REQUEST_HEADERS, "")
        values.update(messageType="request", service=service, endpoint=endpoint,
                      traceShouldPersist="0", authorised="1")
        message = str(uuid.uuid4())
        self.channel.basic_publish("h2o", "", body, pika.BasicProperties(
            content_type=PROTOBUF, delivery_mode=1, message_id=message,
            reply_to=self.queue, headers=values))
        return message

    def answer(self, properties, body, kind):
        self.channel.basic_publish("h2o.direct", properties.reply_to, body, pika.BasicProperties(
            content_type="text/plain" if kind == "heartbeat" else properties.content_type,
            delivery_mode=1, reply_to=self.queue, headers={"messageType": kind},
            correlation_id=None if kind == "heartbeat" else properties.message_id))

    def messages(self, patience):
        """Messages, until none has come for so many seconds."""
        for _, properties, body in self.channel.consume(
                self.queue, auto_ack=True, inactivity_timeout=patience):
            if properties is None:
                return
            yield properties, body


def expect(condition, what):
    if not condition:
        sys.exit(f"not as H2 has it: {what}")


def check_answer(properties):
    """An answer, byte for byte as H2's server sends it."""
    expect(properties.headers == {"messageType": "reply"}, properties)
    expect(properties.content_type == PROTOBUF, properties)
    expect(properties.delivery_mode == 1, properties)
    expect(properties.reply_to.startswith("server-"), properties)
    unset = (properties.message_id, properties.expiration, properties.type, properties.app_id,
             properties.user_id, properties.timestamp, properties.content_encoding)
    expect(not any(unset), properties)


def check_ping(properties, body):
    expect(body == b"PING", body)
    expect(properties.headers == {"messageType": "heartbeat", "heartbeat": "ping"}, properties)
    expect(properties.content_type == "text/plain", properties)
    expect(properties.priority == 5, properties)
    expect(properties.reply_to.startswith("discovery-"), properties)


def register(url, instance, service):
    """H2's servers ask over a queue of their own, as every client does."""
    client = Bus(url, f"client-{uuid.uuid4()}")
    asked = client.request(
        f"{PREFIX}.kernel.discovery", "multiregister", registration(instance, service))
    for properties, body in client.messages(5):
        expect(properties.correlation_id == asked, properties)
        expect(properties.headers == {"messageType": "reply"} and body == b"", properties)
        client.connection.close()
        print("registered", flush=True)
        return
    sys.exit("discovery does not answer")


def serve(arguments):
    bus = Bus(arguments.url, f"server-{arguments.service}-{arguments.name}")
    register(arguments.url, bus.queue, arguments.service)
    for properties, body in bus.messages(60):
        if properties.headers.get("messageType") == "heartbeat":
            check_ping(properties, body)
            bus.answer(properties, b"PONG", "heartbeat")
        else:
            print(body.decode(errors="replace"), flush=True)
            is_api = arguments.service.startswith(f"{PREFIX}.api.")
            bus.answer(properties, api_response(properties, body) if is_api else body, "reply")


def call(arguments):
    bus = Bus(arguments.url, f"client-{uuid.uuid4()}")
    asked = {}
    for count in range(arguments.times):
        body = f"{bus.queue}-{count}".encode()
        asked[bus.request(arguments.service, "hello", body)] = body
    answered, instances = 0, set()
    for properties, body in bus.messages(1):
        check_answer(properties)
        expect(asked.pop(properties.correlation_id, None) == body, "an answer to another request")
        instances.add(properties.reply_to)
        answered += 1
    print(f"answered {answered} by {len(instances)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("serve")
    command.add_argument("service")
    command.add_argument("name")
    command.set_defaults(run=serve)
    command = commands.add_parser("call")
    command.add_argument("service")
    command.add_argument("times", type=int)
    command.set_defaults(run=call)
    chosen = parser.parse_args()
    chosen.run(chosen)
