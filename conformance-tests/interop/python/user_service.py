"""A user service on Apache Thrift's own Python server, joined by the first guide.

Knows nothing of the gateway but its guide: /register, /connect, /health.
Prints one line when it serves: `serving PORT KEY ID`.
"""

import argparse
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.server.TServer import TThreadedServer
from thrift.transport.TSocket import TServerSocket
from thrift.transport.TTransport import TBufferedTransportFactory, TFramedTransportFactory

from users import UserService
from users.ttypes import Address, Contact, Plan, User, UserNotFound

HERE = os.path.dirname(os.path.abspath(__file__))


class Users:
    def __init__(self):
        self.users = {
            9007199254740993: User(
                id=9007199254740993, email="ada@example.org", display_name="Ada Lovelace",
                plan=Plan.TEAM, tags=["math", "engines"], logins_by_country={"GB": 12, "FR": 3},
                address=Address(street="St James's Square", city="London"),
                avatar=bytes([0, 255, 16]), active=True, score=9.75, groups={1, 5}, age=36, level=-1,
                visits=9, contact=Contact(home=Address(street="Ockham")),
                circles={-1: [{1, 2}, set()]},
            )
        }

    def getUser(self, request):
        if request.id not in self.users:
            raise UserNotFound(id=request.id, reason="no such user")
        return self.users[request.id]

    def saveUser(self, user):
        self.users[user.id] = user
        return user

    def listUsers(self, limit, plan):
        return [user for user in self.users.values() if user.plan == plan][:limit]

    def greet(self, request):
        return "Hello, " + self.getUser(request).display_name

    def ping(self):
        pass

    def forget(self, id):
        self.users.pop(id, None)


def post(gateway, path, body):
    request = urllib.request.Request(
        gateway + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise SystemExit("%s: %s %s" % (path, error.code, error.read().decode()))


def register(gateway):
    with open(os.path.join(HERE, "users.thrift")) as idl:
        service = {
            "ServiceId": "1", "ServiceName": "UserService", "IdlContent": idl.read(),
            "Version": "1.0", "ServiceDescription": "users", "ServerCount": 1,
            "Paths": [
                {"MethodPath": "get", "ExposedMethod": "getUser"},
                {"MethodPath": "save", "ExposedMethod": "saveUser"},
                {"MethodPath": "list", "ExposedMethod": "listUsers"},
                {"MethodPath": "greet", "ExposedMethod": "greet"},
                {"MethodPath": "ping", "ExposedMethod": "ping"},
                {"MethodPath": "forget", "ExposedMethod": "forget"},
            ],
            "RegisteredServers": [],
        }
    owner = {"OwnerName": "Users Inc", "OwnerId": "users-inc", "Services": [service]}
    return post(gateway, "/register", [owner])["API-Key"]


def beat(gateway, key, server_id, period):
    while True:
        time.sleep(period)
        try:
            post(gateway, "/health", {"ApiKey": key, "ServerID": server_id})
        except urllib.error.URLError as error:
            print("no beat:", error.reason, file=sys.stderr)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gateway", required=True)
    arguments.add_argument("--api-key")
    arguments.add_argument("--beat", type=float, default=0.5)
    arguments.add_argument("--transport", choices=["framed", "buffered"], default="framed")
    given = arguments.parse_args()

    transport = TServerSocket(host="127.0.0.1", port=0)
    transport.listen()
    port = transport.handle.getsockname()[1]
    transport.listen = lambda: None  # It listens already; the server would bind again.
    framing = {"framed": TFramedTransportFactory, "buffered": TBufferedTransportFactory}
    server = TThreadedServer(
        UserService.Processor(Users()), transport,
        framing[given.transport](), TBinaryProtocolFactory(), daemon=True)

    key = given.api_key or register(given.gateway)
    connection = {
        "ApiKey": key, "ServiceName": "UserService",
        "ServerAddress": "127.0.0.01", "ServerPort": str(port),
    }
    if given.transport != "framed":
        connection["Metadata"] = {"thrift.framing": given.transport}
    connected = post(given.gateway, "/connect", connection)
    server_id = connected["ServerID"]
    threading.Thread(
        target=beat, args=(given.gateway, key, server_id, given.beat), daemon=True).start()
    print("serving", port, key, server_id, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
