"""What Azure's clients have always done here, with the SDK's majors of years ago too: each writes back what it read,
repeats itself, does so at the same time as others, names things in other letter case, and deletes what is in use.

Started by tests/netns/sdk.rs for today's packages, and once per line of older.txt: the directory of those packages then
stands first in PYTHONPATH.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

from azure.core.exceptions import HttpResponseError
from azure.mgmt.privatedns import PrivateDnsManagementClient

from workflow import (
    CA,
    CONSUMER,
    PROVIDER,
    REGION,
    URL,
    Side,
    Token,
    addresses,
    fails,
    knock,
    networks,
    reaches,
    request,
    service,
    state,
    step,
)

PG, CG, ZONE = "rg-provider", "rg-consumer", "contoso.internal"


def done(started):
    """The end of a call that some majors return at once and others as a poller."""
    return started.result() if hasattr(started, "result") else started


def raw(side, path):
    """An object as it is served, whatever the models of a major know of it."""
    return side.resources.resources.get_by_id(path, api_version="2024-05-01")


def read_and_written(provider, consumer, subnet, pls):
    """Each kind as it was read is no change; nor is it the next time, in any letter case."""
    network, other = provider.network, consumer.network
    kinds = [
        (network.virtual_networks, (PG, "vnet1")),
        (network.subnets, (PG, "vnet1", "pls")),
        (network.load_balancers, (PG, "lb1")),
        (network.private_link_services, (PG, "pls1")),
        (other.virtual_networks, (CG, "cvnet")),
        (other.subnets, (CG, "cvnet", "pe")),
        (other.private_endpoints, (CG, "pe1")),
    ]
    for operations, path in kinds:
        before = operations.get(*path)
        served = raw(provider if path[0] == PG else consumer, before.id).as_dict()
        again = operations.begin_create_or_update(*path, operations.get(*path)).result()
        assert again.etag == before.etag, f"{path}: {before.etag} is {again.etag} now"
        loud = [part.upper() for part in path]
        again = operations.begin_create_or_update(*loud, operations.get(*loud)).result()
        assert (again.etag, again.id) == (before.etag, before.id), f"{loud}: {again.id}"
        assert raw(provider if path[0] == PG else consumer, before.id).as_dict() == served, path
    made = provider.resources.resource_groups.get(PG)
    assert provider.resources.resource_groups.create_or_update(PG, made).tags == made.tags
    reaches(other.private_endpoints.get(CG, "pe1"), 443, "pls")
    step("each kind written back as it was read: no new etag, in any letter case, and packets pass")


def changed(provider, endpoint):
    """A service that is read and changed stays behind its balancer."""
    services, balancers = provider.network.private_link_services, provider.network.load_balancers
    pls = services.get(PG, "pls1")
    pls.tags = {"team": "shop"}
    pls = services.begin_create_or_update(PG, "pls1", pls).result()
    assert pls.tags == {"team": "shop"} and len(pls.load_balancer_frontend_ip_configurations) == 1
    reaches(endpoint, 443, "pls")
    for port, expected in [(444, "ConnectionRefusedError"), (443, "pls")]:
        balancer = balancers.get(PG, "lb1")
        balancer.load_balancing_rules[0].frontend_port = port
        balancers.begin_create_or_update(PG, "lb1", balancer).result()
        # What was read before the balancer changed is written after it.
        pls = services.begin_create_or_update(PG, "pls1", pls).result()
        assert knock(addresses(endpoint)[0], 443) == expected, port
    step("a service that is read and changed stays behind its balancer: packets follow its rules")


def repeated(provider, consumer):
    """The same request many times, one after the other and all at once."""
    create = consumer.network.virtual_networks.begin_create_or_update
    body = {"location": REGION, "properties": {"addressSpace": {"addressPrefixes": ["10.77.0.0/16"]}}}
    first = create(CG, "many", body).result()
    assert {create(CG, "many", body).result().etag for _ in range(3)} == {first.etag}
    with ThreadPoolExecutor(8) as pool:
        assert {one.etag for one in pool.map(lambda _: create(CG, "many", body).result(), range(16))} == {first.etag}
        # Parts of one VNet at once: each is there in the end.
        part = lambda n: {"properties": {"addressPrefix": f"10.77.{n}.0/24"}}
        subnets = consumer.network.subnets
        list(pool.map(lambda n: subnets.begin_create_or_update(CG, "many", f"s{n}", part(n)).result(), range(8)))
    assert sorted(one.name for one in subnets.list(CG, "many")) == [f"s{n}" for n in range(8)]
    # What a VNet is not told of its subnets leaves them.
    assert len(create(CG, "many", body).result().subnets) == 8
    consumer.network.virtual_networks.begin_delete(CG, "many").result()
    step("repeated and parallel requests: one object, all its parts; a VNet without a word of its subnets keeps them")


def used(provider, consumer):
    """What is in use stays, and says why."""
    network, other = provider.network, consumer.network
    for call, path, code in [
        (network.subnets.begin_delete, (PG, "vnet1", "pls"), "InUseSubnetCannotBeDeleted"),
        (other.subnets.begin_delete, (CG, "cvnet", "pe"), "InUseSubnetCannotBeDeleted"),
        (network.virtual_networks.begin_delete, (PG, "vnet1"), None),
        (other.virtual_networks.begin_delete, (CG, "cvnet"), None),
        (network.load_balancers.begin_delete, (PG, "lb1"), None),
        (network.private_link_services.begin_delete, (PG, "pls1"), "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections"),
    ]:
        if code:
            fails(HttpResponseError, code, call, *path)
            continue
        try:
            call(*path)
        except HttpResponseError as error:
            assert error.status_code == 409, error
        else:
            raise AssertionError(f"{path} is in use, and was deleted")
    reaches(other.private_endpoints.get(CG, "pe1"), 443, "pls")
    step("what is in use is not deleted")


def storage(provider, consumer, subnet):
    """An account: made, read, written back, its connections decided."""
    accounts = provider.storage.storage_accounts
    body = {"location": REGION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {"accessTier": "Hot"}}
    made = accounts.begin_create(PG, "heldacct", body).result()
    assert (made.kind, made.sku.name, made.access_tier) == ("StorageV2", "Standard_LRS", "Hot")
    before = raw(provider, made.id).as_dict()
    read = accounts.get_properties(PG, "heldacct")
    accounts.begin_create(PG, "heldacct", read).result()
    assert raw(provider, made.id).as_dict() == before
    changed = accounts.update(PG, "heldacct", {"tags": {"a": "b"}, "properties": {"accessTier": "Cool"}})
    assert (changed.tags, changed.access_tier, changed.kind) == ({"a": "b"}, "Cool", "StorageV2")
    accounts.delete(PG, "heldacct")
    step("a storage account: written back, patched, deleted")


def names(consumer):
    """A zone, a link and records: written back as they were read."""
    dns = PrivateDnsManagementClient(consumer.token, consumer.subscription, base_url=URL, connection_verify=CA, polling_interval=1)
    of = lambda operations, name: getattr(operations, f"begin_{name}", None) or getattr(operations, name)
    zones, links, sets = dns.private_zones, dns.virtual_network_links, dns.record_sets
    zone = done(of(zones, "create_or_update")(CG, ZONE, {"location": "global"}))
    assert done(of(zones, "create_or_update")(CG, ZONE, zones.get(CG, ZONE))).etag == zone.etag
    vnet = consumer.id(CG, "Microsoft.Network/virtualNetworks", "cvnet")
    link = {"location": "global", "properties": {"virtualNetwork": {"id": vnet}, "registrationEnabled": False}}
    link = done(of(links, "create_or_update")(CG, ZONE, "l", link))
    assert done(of(links, "create_or_update")(CG, ZONE, "l", links.get(CG, ZONE, "l"))).etag == link.etag
    bodies = [("A", {"ttl": 60, "aRecords": [{"ipv4Address": "10.1.0.7"}]}), ("TXT", {"ttl": 60}), ("MX", {"ttl": 5, "mxRecords": [{"preference": 1, "exchange": "m.example"}]})]
    for kind, properties in bodies:
        made = sets.create_or_update(CG, ZONE, kind, "www", {"properties": properties})
        assert sets.create_or_update(CG, ZONE, kind, "www", sets.get(CG, ZONE, kind, "www")).etag == made.etag, kind
    assert len(list(sets.list(CG, ZONE))) == 4
    done(of(links, "delete")(CG, ZONE, "l"))
    done(of(zones, "delete")(CG, ZONE))
    step("a zone, a link, records: written back as they were read")


def main():
    majors = ["network", "storage", "privatedns"]
    step(", ".join(f"{name} {version(f'azure-mgmt-{name}')}" for name in majors))
    provider = Side(os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"], Token(PROVIDER))
    consumer = Side(os.environ["PRIVLINK_CONSUMER_SUBSCRIPTION"], Token(CONSUMER))
    consumer.token = Token(CONSUMER)
    subnet = networks(provider, consumer)
    pls = service(provider, consumer)
    body = raw(provider, pls.id).as_dict()
    body["properties"]["autoApproval"] = {"subscriptions": [consumer.subscription]}
    provider.resources.resources.begin_create_or_update_by_id(pls.id, body, api_version="2024-05-01").result()
    endpoint = consumer.network.private_endpoints.begin_create_or_update(CG, "pe1", request(subnet, pls.id, False)).result()
    assert state(endpoint) == "Approved"
    reaches(endpoint, 443, "pls")
    read_and_written(provider, consumer, subnet, pls)
    changed(provider, endpoint)
    repeated(provider, consumer)
    used(provider, consumer)
    storage(provider, consumer, subnet)
    names(consumer)
    consumer.network.private_endpoints.begin_delete(CG, "pe1").result()
    provider.network.private_link_services.begin_delete(PG, "pls1").result()
    for side, group in [(provider, PG), (consumer, CG)]:
        side.resources.resource_groups.begin_delete(group).result()
    print("what has always been done: done")


if __name__ == "__main__":
    sys.exit(main())
