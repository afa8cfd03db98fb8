"""An unchanged client of a storage account: 64 MiB up and down again by the account's own URL."""

import hashlib
import os
import socket
import sys

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient

URL = sys.argv[1]
SIZE = 64 << 20


def main():
    with open(os.environ["STORAGE_KEY"], encoding="ascii") as file:
        key = file.read().strip()
    credential = {"account_name": URL.split("//")[1].split(".")[0], "account_key": key}
    service = BlobServiceClient(
        URL, credential=credential, connection_verify=os.environ["STORAGE_CA"], retry_total=0, connection_timeout=5
    )
    if "--list" in sys.argv:
        print(*(container.name for container in service.list_containers()))
        return
    data = os.urandom(SIZE)
    container = service.create_container("lab")
    container.upload_blob("large", data)
    read = container.download_blob("large").readall()
    host = URL.split("//")[1]
    addresses = {entry[4][0] for entry in socket.getaddrinfo(host, 443)}
    print("addresses", *sorted(addresses))
    print("sent", len(data), hashlib.sha256(data).hexdigest())
    print("read", len(read), hashlib.sha256(read).hexdigest())


try:
    main()
except AzureError as error:
    sys.exit(f"{type(error).__name__}: {error}")
