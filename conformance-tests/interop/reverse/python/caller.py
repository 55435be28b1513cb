"""Calls through the front door as grpcurl would: by address and path alone.

    python caller.py --gateway HOST:PORT [--ca FILE] PATH NAME

Prints `ok MESSAGE BY`, or `failed CODE DETAILS`. The path `health` asks the
gateway's own health service.
"""

import argparse

import greet_pb2
import grpc


def main(arguments):
    if arguments.ca:
        with open(arguments.ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel(arguments.gateway, credentials)
    else:
        channel = grpc.insecure_channel(arguments.gateway)
    if arguments.path == "health":
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        print("ok", check(b"", timeout=10).hex())
        return
    call = channel.unary_unary(
        arguments.path,
        request_serializer=greet_pb2.Hello.SerializeToString,
        response_deserializer=greet_pb2.Reply.FromString,
    )
    try:
        metadata = [("x-tenant", arguments.tenant)]
        reply, called = call.with_call(
            greet_pb2.Hello(name=arguments.name), timeout=10, metadata=metadata)
        headers = dict(called.initial_metadata())
        print(f"ok {reply.message} | {headers.get('x-answered-by')}")
    except grpc.RpcError as error:
        print(f"failed {error.code().name} {error.details()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--tenant", default="")
    parser.add_argument("path")
    parser.add_argument("name", nargs="?", default="")
    main(parser.parse_args())
