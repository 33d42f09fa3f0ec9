"""The other end of a connection, for listener_test.cpp: Python's own multiprocessing.connection.

python_peer.py listen inet|unix KEY [named]          prints the address, accepts one client
python_peer.py connect inet|unix ADDRESS KEY [named]  connects
Then it sends back in capitals what it receives until that is empty, and prints "done"; or the class of the error.
"named": shakes hands as Python 3.12 does, with named digests, whatever Python this is.
"""

import hmac
import os
import sys
from multiprocessing import AuthenticationError, connection


def named_digest(message):
    """The digest that a message of Python 3.12 names, "" for none."""
    return message[1:message.index(b"}")].decode() if message.startswith(b"{") and len(message) not in (16, 20) else ""


def deliver_named(conn, key):
    message = b"{sha256}" + os.urandom(40)
    conn.send_bytes(b"#CHALLENGE#" + message)
    answer = conn.recv_bytes(256)
    name = named_digest(answer)
    mac = answer[len(name) + 2:] if name else answer
    if not hmac.compare_digest(mac, hmac.new(key, message, name or "md5").digest()):
        conn.send_bytes(b"#FAILURE#")
        raise AuthenticationError
    if name != "sha256":
        raise RuntimeError("the weaker digest")
    conn.send_bytes(b"#WELCOME#")


def answer_named(conn, key):
    message = conn.recv_bytes(256)
    if not message.startswith(b"#CHALLENGE#"):
        raise AuthenticationError
    message = message[len(b"#CHALLENGE#"):]
    name = named_digest(message)
    mac = hmac.new(key, message, name or "md5").digest()
    conn.send_bytes(b"{%s}%s" % (name.encode(), mac) if name else mac)
    if conn.recv_bytes(256) != b"#WELCOME#":
        raise AuthenticationError


def open_end(arguments):
    role, family = arguments[:2]
    if role == "listen":
        key = arguments[2].encode()
        with connection.Listener(("127.0.0.1", 0) if family == "inet" else None,
                                 "AF_INET" if family == "inet" else "AF_UNIX", authkey=key) as listener:
            print(listener.address[1] if family == "inet" else listener.address, flush=True)
            return listener.accept()
    address = ("127.0.0.1", int(arguments[2])) if family == "inet" else arguments[2]
    return connection.Client(address, authkey=arguments[3].encode())


def main():
    arguments = sys.argv[1:]
    if arguments[-1] == "named":
        connection.deliver_challenge = deliver_named
        connection.answer_challenge = answer_named
    try:
        with open_end(arguments) as conn:
            message = conn.recv_bytes()
            while message:
                conn.send_bytes(message.upper())
                message = conn.recv_bytes()
        print("done", flush=True)
    except Exception as error:  # whatever it is, the test wants its name
        print(type(error).__name__, flush=True)


main()
