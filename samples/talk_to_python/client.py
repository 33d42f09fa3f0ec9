"""The other end of talk_to_python: plain multiprocessing. Usage: client.py PORT, the key in TROUPE_SAMPLE_KEY."""

import array
import os
import statistics
import struct
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client


def main():
    address = ("localhost", int(sys.argv[1]))
    try:
        connection = Client(address, authkey=os.environ["TROUPE_SAMPLE_KEY"].encode())
    except AuthenticationError:
        print("  Python: I was refused", flush=True)
        return 1
    with connection:
        print("  Python: connected", flush=True)
        while (word := connection.recv_bytes()) != b"bye":
            numbers = array.array("d", connection.recv_bytes())
            print(f"  Python: {word.decode()} of {len(numbers)} numbers", flush=True)
            connection.send_bytes(struct.pack("d", getattr(statistics, word.decode())(numbers)))
    return 0


sys.exit(main())
