"""Every property that the SDK's models know of each kind, one after the other: it is shown again as it was written, or listed
as stored only or not kept, or refused by its name. Nothing vanishes silently.

Started by tests/netns/sdk.rs beside workflow.py, whose clients it uses.
"""

import copy
import enum
import os
import sys
import types
import typing

from azure.core.exceptions import HttpResponseError
from azure.mgmt.network import models as network_models
from azure.mgmt.privatedns import models as dns_models
from azure.mgmt.resource.resources import models as group_models
from azure.mgmt.storage import models as storage_models

from workflow import CONSUMER, PROVIDER, REGION, Side, Token, networks, request, service, step

API = "2024-05-01"
PG, CG = "rg-provider", "rg-consumer"

# Lists whose items are parts of the object; whatever else has an ID is named by that alone.
PARTS = {
    "subnets", "virtualNetworkPeerings", "frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes",
    "loadBalancerBackendAddresses", "ipConfigurations", "delegations", "serviceEndpoints", "privateDnsZoneConfigs",
    "privateLinkServiceConnections", "manualPrivateLinkServiceConnections",
}
# What Azure works out, whatever a client writes.
OUTPUT = {
    "customDnsConfigs", "privateLinkServiceConnectionState", "peeringState", "peeringSyncLevel", "remoteAddressSpace",
    "remoteVirtualNetworkAddressSpace", "localAddressSpace", "localVirtualNetworkAddressSpace",
}
# What refusals call it.
CALLED = {"groupIds": "subresource", "privateIPAddressVersion": "no free address"}
# What names the object itself, or is there twice.
OWN = {"id", "name", "type", "location", "etag"}
DEEPEST = 9


def fields(model):
    """Name in JSON and type of what can be written of a model."""
    model()
    package = sys.modules[model.__module__.rpartition(".")[0]]
    known = vars(sys.modules[model.__module__]) | vars(package)
    hints = typing.get_type_hints(model, localns=known | {"_models": types.SimpleNamespace(**known)})
    for name, field in model._attr_to_rest_field.items():
        if field._visibility and set(field._visibility) <= {"read"}:
            continue
        yield field._rest_name, hints[name]


def bare(kind):
    """A type without what may be left out: itself, and whether there is a list of it."""
    parts = [one for one in typing.get_args(kind) if one is not type(None)]
    origin = typing.get_origin(kind)
    if origin is typing.Union:
        enums = [one for one in parts if isinstance(one, type) and issubclass(one, enum.Enum)]
        return bare(enums[0] if enums else parts[0])
    if origin in (list, typing.List):
        return bare(parts[0])[0], True
    return kind, False


def values(kind):
    """Values to write: of what has few, each, for one of them is what holds anyway."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [one.value for one in reversed(kind)]
    return {bool: [True, False], int: [7], float: [7.5]}.get(kind, ["other"])


def leaves(model, path=(), depth=0):
    """The path of each property, and values for it."""
    for name, kind in fields(model):
        if depth == 0 and name in OWN or name in OUTPUT:
            continue
        kind, several = bare(kind)
        at = path + (name,)
        if typing.get_origin(kind) is dict or kind is dict:
            yield at, [{"a": "b"}]
        elif not (isinstance(kind, type) and hasattr(kind, "as_dict")):
            yield at, [[one] if several else one for one in values(kind)]
        else:
            inner = dict(fields(kind))
            part = name in PARTS or "id" not in inner
            if not part:
                reference = {"id": f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/{name}/other"}
                yield at, [[reference] if several else reference]
            elif depth < DEEPEST and (name == "properties" or name not in path):
                for below, found in leaves(kind, at + ((0,) if several else ()), depth + 1):
                    if below[-1] not in ("id", "name", "etag", "type") or below[-3:] == ("delegations", 0, "name"):
                        yield below, found


def place(body, path, make):
    """What stands at the front of `path`; what is missing is made where that is asked for."""
    for name, after in zip(path, path[1:]):
        if isinstance(name, int):
            while make and len(body) <= name:
                body.append({})
            body = body[name] if len(body) > name else {}
        elif make:
            body = body.setdefault(name, [] if isinstance(after, int) else {})
        else:
            body = body.get(name, {}) if isinstance(body, dict) else {}
    return body


def shown(body, path):
    front = place(body, path, False)
    return front.get(path[-1]) if isinstance(front, dict) else None


def same(written, read):
    if isinstance(written, list):
        return isinstance(read, list) and len(written) == len(read) and all(map(same, written, read))
    if isinstance(written, dict):
        return isinstance(read, dict) and all(same(value, read.get(name)) for name, value in written.items())
    text = lambda one: str(one).lower().replace(" ", "")
    return text(written) == text(read)


class Walk:
    """One object, which every property is written to."""

    def __init__(self, side, path, base, api=API):
        self.side, self.path, self.base, self.api = side, path, base, api
        self.lost, self.count = [], 0

    def get(self):
        return self.side.resources.resources.get_by_id(self.path, api_version=self.api).as_dict()

    def listed(self, body):
        own = body.get("properties", {}).get("privlink", {})
        return [name.lower() for name in own.get("storedOnly", []) + own.get("notKept", [])]

    def put(self, body):
        self.side.resources.resources.begin_create_or_update_by_id(self.path, body, api_version=self.api).result()

    def take(self, path, values):
        self.count += 1
        whys = []
        for value in values:
            whys.append(self.why_lost(path, value))
            if whys[-1] is None:
                return
        self.lost.append(f"{'.'.join(map(str, path))}: {whys}")

    def why_lost(self, path, value):
        """What became of a value; nothing, where that is told."""
        self.put(self.base)
        body = copy.deepcopy(self.base)
        place(body, path, True)[path[-1]] = value
        names = [part.lower() for part in path if isinstance(part, str) and part != "properties"]
        try:
            self.put(body)
        except HttpResponseError as error:
            said = str(error.message).lower()
            words = names + [word for name, word in CALLED.items() if name.lower() in names]
            told = error.status_code in (400, 409) and any(word in said for word in words)
            return None if told else f"{error.status_code} {error.message}"
        now = self.get()
        listed = self.listed(now)
        if same(value, shown(now, path)) or any(one.split(":")[0].split(".")[-1] in names for one in listed):
            return None
        return f"{value} is shown as {shown(now, path)}, listed {listed}"


def kinds(provider, consumer, subnet, pls):
    """The model, the one who writes, the path, and a body of each kind."""
    network, other = "Microsoft.Network", consumer.id
    space = lambda prefix: {"addressSpace": {"addressPrefixes": [prefix]}}
    here = {"location": REGION}
    zone = other(CG, f"{network}/privateDnsZones", "walk.internal")
    vnet = other(CG, f"{network}/virtualNetworks", "walk")
    second = other(CG, f"{network}/virtualNetworks", "walked")
    group = f"/subscriptions/{consumer.subscription}/resourceGroups/{CG}"
    yield "ResourceGroup", group_models.ResourceGroup, consumer, group, here
    part = {"name": "part", "properties": {"addressPrefix": "10.90.1.0/24"}}
    yield "VirtualNetwork", network_models.VirtualNetwork, consumer, vnet, here | {"properties": space("10.90.0.0/16") | {"subnets": [part]}}
    # A body may name each subnet that there is.
    yield "Subnet", network_models.Subnet, consumer, f"{vnet}/subnets/alone", {"properties": {"addressPrefix": "10.90.2.0/24"}}
    consumer.network.virtual_networks.begin_create_or_update(CG, "walked", here | {"properties": space("10.91.0.0/16")}).result()
    yield "VirtualNetworkPeering", network_models.VirtualNetworkPeering, consumer, f"{vnet}/virtualNetworkPeerings/to", {"properties": {"remoteVirtualNetwork": {"id": second}}}
    balancer = consumer.id(CG, f"{network}/loadBalancers", "walk")
    named = lambda list, name: {"id": f"{balancer}/{list}/{name}"}
    rule = {"protocol": "Tcp", "frontendPort": 443, "backendPort": 7000, "frontendIPConfiguration": named("frontendIPConfigurations", "fe"), "backendAddressPool": named("backendAddressPools", "be")}
    properties = {
        "frontendIPConfigurations": [{"name": "fe", "properties": {"subnet": {"id": subnet.id}}}],
        "backendAddressPools": [{"name": "be", "properties": {"loadBalancerBackendAddresses": [{"name": "b", "properties": {"ipAddress": "10.1.0.9"}}]}}],
        "loadBalancingRules": [{"name": "r", "properties": rule}],
        "probes": [{"name": "p", "properties": {"protocol": "Tcp", "port": 80, "intervalInSeconds": 5, "numberOfProbes": 2}}],
    }
    yield "LoadBalancer", network_models.LoadBalancer, consumer, balancer, here | {"properties": properties}
    own = provider.id(PG, f"{network}/privateLinkServices", "walk")
    inside = provider.id(PG, f"{network}/virtualNetworks", "vnet1")
    properties = {"destinationIPAddress": "10.20.0.9", "ipConfigurations": [{"name": "nat", "properties": {"subnet": {"id": f"{inside}/subnets/pls"}}}]}
    yield "PrivateLinkService", network_models.PrivateLinkService, provider, own, here | {"properties": properties}
    yield "PrivateEndpoint", network_models.PrivateEndpoint, consumer, other(CG, f"{network}/privateEndpoints", "walk"), request(subnet, pls.alias, True)
    yield "PrivateZone", dns_models.PrivateZone, consumer, zone, {"location": "global"}
    yield "VirtualNetworkLink", dns_models.VirtualNetworkLink, consumer, f"{zone}/virtualNetworkLinks/l", {"location": "global", "properties": {"virtualNetwork": {"id": vnet}}}
    records = {
        "A": {"aRecords": [{"ipv4Address": "10.1.0.7"}]},
        "AAAA": {"aaaaRecords": [{"ipv6Address": "fd00::7"}]},
        "CNAME": {"cnameRecord": {"cname": "a.example"}},
        "MX": {"mxRecords": [{"preference": 1, "exchange": "m.example"}]},
        "PTR": {"ptrRecords": [{"ptrdname": "a.example"}]},
        "SRV": {"srvRecords": [{"priority": 1, "weight": 1, "port": 1, "target": "a.example"}]},
        "TXT": {"txtRecords": [{"value": ["x"]}]},
    }
    for kind, data in records.items():
        yield f"RecordSet {kind}", dns_models.RecordSet, consumer, f"{zone}/{kind}/walk-{kind.lower()}", {"properties": {"ttl": 60} | data}
    config = {"privateDnsZoneConfigs": [{"name": "z", "properties": {"privateDnsZoneId": zone}}]}
    yield "PrivateDnsZoneGroup", network_models.PrivateDnsZoneGroup, consumer, f"{other(CG, f'{network}/privateEndpoints', 'walk')}/privateDnsZoneGroups/default", {"properties": config}
    account = provider.id(PG, "Microsoft.Storage/storageAccounts", "walkacct")
    yield "StorageAccount", storage_models.StorageAccountCreateParameters, provider, account, here | {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}


def main():
    provider = Side(os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"], Token(PROVIDER))
    consumer = Side(os.environ["PRIVLINK_CONSUMER_SUBSCRIPTION"], Token(CONSUMER))
    consumer.token = Token(CONSUMER)
    subnet = networks(provider, consumer)
    pls = service(provider, consumer)
    lost = []
    for name, model, side, path, base in kinds(provider, consumer, subnet, pls):
        walk = Walk(side, path, base)
        for at, found in leaves(model):
            walk.take(at, found)
        walk.put(base)
        assert walk.count > 0, name
        step(f"{name}: {walk.count} properties, {len(walk.lost)} lost")
        lost += [f"{name} {one}" for one in walk.lost]
    assert not lost, "\n".join(lost)
    print("every property is told of: done")


if __name__ == "__main__":
    sys.exit(main())
