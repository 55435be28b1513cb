"""A service behind a reverse connection, written from the guide and the protocol
file: it dials the gateway, registers, beats, answers calls, and dials again when
the stream breaks.

    python service.py --gateway HOST:PORT --service NAME [--ca FILE] [--api-key KEY]

Prints `connected ID` for every connection.
"""

import argparse
import queue
import random
import threading
import time

import greet_pb2
import grpc
import reverse_pb2
import reverse_pb2_grpc


class Service:
    def __init__(self, arguments):
        self.arguments = arguments
        self.served = 0
        self.waiting = {}  # Requests of ours that went up the stream.

    def channel(self):
        if not self.arguments.ca:
            return grpc.insecure_channel(self.arguments.gateway)
        with open(self.arguments.ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        return grpc.secure_channel(self.arguments.gateway, credentials)

    def run(self):
        delay = 0.1
        while True:
            try:
                self.connect()
                delay = 0.1
            except grpc.RpcError as error:
                print(f"lost {error.code().name}: {error.details()}", flush=True)
            time.sleep(random.uniform(0, delay))
            delay = min(delay * 2, 5)

    def connect(self):
        out = queue.Queue()
        register = reverse_pb2.ConnectionRegister(
            api_key=self.arguments.api_key, services=[self.arguments.service])
        out.put(reverse_pb2.ConnectionMessage(register=register))
        with self.channel() as channel:
            stub = reverse_pb2_grpc.RegistryServiceStub(channel)
            stream = stub.EstablishConnection(iter(out.get, None))
            try:
                self.receive(stream, out)
            finally:
                out.put(None)

    def receive(self, stream, out):
        for message in stream:
            kind = message.WhichOneof("message_type")
            if kind == "status":
                if message.status.status == reverse_pb2.ConnectionStatus.CONNECTED:
                    identifier = message.status.connection_id
                    print(f"connected {identifier}", flush=True)
                    threading.Thread(target=self.beat, args=(identifier, out), daemon=True).start()
            elif kind == "request":
                threading.Thread(target=self.answer, args=(message.request, out), daemon=True).start()
            elif kind == "response":
                self.waiting.pop(message.response.request_id).put(message.response)

    def beat(self, identifier, out):
        while True:
            time.sleep(self.arguments.beat)
            heartbeat = reverse_pb2.Heartbeat(
                timestamp=int(time.time()), connection_id=identifier)
            out.put(reverse_pb2.ConnectionMessage(heartbeat=heartbeat))

    def answer(self, request, out):
        response = reverse_pb2.ForwardResponse(request_id=request.request_id)
        method = request.method_path.rsplit("/", 1)[-1]
        hello = greet_pb2.Hello.FromString(request.payload)
        self.served += 1
        if method == "SayHello" and hello.name:
            tenant = request.headers.get("x-tenant", "")
            reply = greet_pb2.Reply(
                message=f"hello {hello.name}{tenant} from python", served=self.served)
            response.status_code = 200
            response.headers["x-answered-by"] = "python"
            response.payload = reply.SerializeToString()
        elif method == "AskOther":
            other = self.ask(f"/{hello.name}/SayHello", greet_pb2.Hello(name="python"), out)
            response.status_code = other.status_code
            response.payload = other.payload
            response.error_message = other.error_message
        else:
            response.status_code = 404
            response.error_message = f"no {method} for nobody"
        out.put(reverse_pb2.ConnectionMessage(response=response))

    def ask(self, path, message, out):
        identifier = "1"  # As careless as clients in the field.
        answer = self.waiting[identifier] = queue.Queue()
        request = reverse_pb2.ForwardRequest(
            request_id=identifier, method_path=path, payload=message.SerializeToString())
        out.put(reverse_pb2.ConnectionMessage(request=request))
        return answer.get(timeout=10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--beat", type=float, default=5)
    Service(parser.parse_args()).run()
