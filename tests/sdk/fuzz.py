"""Requests made from the OpenAPI document against a running daemon: whatever is asked, no 5xx, and what is answered is
what the document says. Started by tests/netns/sdk.rs.

Names are narrowed to a few, so that requests meet what earlier ones made; the document is otherwise as it is served.
"""

import json
import os
import ssl
import subprocess
import sys
import urllib.request

URL, CA = os.environ["PRIVLINK_URL"], os.environ["PRIVLINK_CA"]
TOKEN = open(os.environ["PRIVLINK_PROVIDER"], encoding="ascii").read().strip()
SUBSCRIPTION = os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"]
EXAMPLES = os.environ.get("PRIVLINK_FUZZ", "10")
VNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/a"
NAMES = {
    "subscription": [SUBSCRIPTION],
    "group": ["rg"],
    "name": ["a", "b", "ü %/?"],
    "location": ["westeurope", "West Europe"],
    "provider": ["Microsoft.Storage", "Microsoft.Sql", "Nobody.Knows"],
    "type": ["storageAccounts", "servers"],
    "subnet": ["pe", "pls", "x"],
    "peering": ["to-b"],
    "subresource": ["blob", "sqlServer"],
}
IDS = [
    f"{VNET}/subnets/pe",
    f"{VNET}/subnets/pls",
    VNET,
    VNET[:-1] + "b",
    VNET.replace("virtualNetworks/a", "loadBalancers/a/frontendIPConfigurations/fe"),
    "not an id",
]
SERVICES = [
    VNET.replace("virtualNetworks", "privateLinkServices"),
    VNET.replace("Microsoft.Network/virtualNetworks", "Microsoft.Storage/storageAccounts"),
    "",
]
ADDRESSES = ["10.20.0.2", "10.20.99.9", "10.20.9.9", "::1", "0.0.0.0", "x"]
PREFIXES = ["10.20.0.0/16", "10.20.9.0/24", "10.20.99.0/24", "0.0.0.0/0", "10.20.0.1/16", "fd00::/64"]


def send(method, path, body=None):
    request = urllib.request.Request(URL + path, method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    data = None if body is None else json.dumps(body).encode()
    if data:
        request.add_header("Content-Type", "application/json")
    context = ssl.create_default_context(cafile=CA)
    with urllib.request.urlopen(request, data, context=context) as answer:
        return json.load(answer)


def narrowed(document):
    for path in document["paths"].values():
        for parameter in path["parameters"]:
            if parameter["name"] in NAMES:
                parameter["schema"] = {"enum": NAMES[parameter["name"]]}
            elif parameter["name"] == "api-version":
                parameter["schema"] = {"enum": ["2026-03-01"]}
    schemas = document["components"]["schemas"]
    schemas["SubResource"]["properties"]["id"] = {"enum": IDS}
    schemas["Prefixes"]["items"] = {"enum": PREFIXES}
    schemas["Subnet"]["properties"]["properties"]["properties"]["addressPrefix"] = {"enum": PREFIXES}
    schemas["ServiceConnection"]["properties"]["properties"]["properties"]["privateLinkServiceId"] = {"enum": SERVICES}

    def replace(node):
        for name, child in list(node.items()) if isinstance(node, dict) else []:
            if name in ("privateIPAddress", "ipAddress", "destinationIPAddress"):
                node[name] = {"enum": ADDRESSES}
            else:
                replace(child)

    replace(schemas)
    return document


def main():
    send("PUT", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg?api-version=1", {"location": "westeurope"})
    for name in "ab":
        subnets = [{"name": "pe", "properties": {"addressPrefix": "10.20.9.0/24"}}, {"name": "pls", "properties": {"addressPrefix": "10.20.99.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}}]
        body = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.20.0.0/16"]}, "subnets": subnets}}
        send("PUT", f"{VNET[:-1]}{name}?api-version=1", body)
        body = {"location": "westeurope", "properties": {"destinationIPAddress": "10.20.0.2", "visibility": {"subscriptions": ["*"]}}}
        body["properties"]["ipConfigurations"] = [{"name": "nat", "properties": {"subnet": {"id": f"{VNET[:-1]}{name}/subnets/pls"}}}]
        send("PUT", f"{SERVICES[0][:-1]}{name}?api-version=1", body)
    document = narrowed(send("GET", "/openapi.json"))
    path = os.path.join(os.path.dirname(CA), "openapi.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    command = [
        os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", path,
        "--url", URL, "--tls-verify", CA, "--header", f"Authorization: Bearer {TOKEN}",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", "4711",
        "--suppress-health-check", "all", "--warnings", "off", "--no-color",
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
