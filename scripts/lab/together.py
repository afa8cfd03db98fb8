"""Holds connections to several addresses at once, all from one address and port.

usage: together.py SOURCE PORT ADDRESS...

Connects to port 80 of each, waits a second, asks each for "/", and prints one line per address:
`connected asked body`, the times in seconds since 1970. So two runs whose spans overlap were open together.
"""

import socket
import sys
import time


def connect(source, port, address):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.settimeout(5)
    client.bind((source, port))
    client.connect((address, 80))
    return client, time.time()


def ask(client):
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := client.recv(4096):
        answer += piece
    return answer.split(b"\r\n\r\n", 1)[-1].decode(errors="replace").strip()


def main(source, port, addresses):
    clients = [connect(source, port, address) for address in addresses]
    time.sleep(1)
    for client, connected in clients:
        asked = time.time()
        print(f"{connected:.6f} {asked:.6f} {ask(client)}")


try:
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
except OSError as error:
    sys.exit(f"together: {error}")
