"""What clients do beside the straight way: one tag changed of each kind, IDs in another letter case, pages, conditions, many at
once, deletions in any order, a probe for each rule.

Started by tests/netns/sdk.rs beside workflow.py, whose clients it uses.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
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

PG, CG = "rg-provider", "rg-consumer"


def eventually(look, expected, seconds=60):
    end = time.monotonic() + seconds
    while (found := look()) != expected:
        assert time.monotonic() < end, f"{found}, not {expected}"
        time.sleep(0.2)


def probes(provider, consumer, subnet, pls):
    """Each rule has its own probe: what one of them finds is nothing to the other."""
    balancers = provider.network.load_balancers
    endpoint = consumer.network.private_endpoints.begin_create_or_update(CG, "pe1", request(subnet, pls.id, False)).result()
    assert state(endpoint) == "Approved"
    reaches(endpoint, 443, "pls")
    balancer = balancers.get(PG, "lb1").as_dict()
    lb = balancer["id"]
    probe = lambda name, port: {"name": name, "properties": {"protocol": "Tcp", "port": port, "intervalInSeconds": 1, "numberOfProbes": 1}}
    balancer["properties"]["probes"] = [probe("up", 7000), probe("down", 7999)]
    rule = balancer["properties"]["loadBalancingRules"][0]
    rule["properties"]["probe"] = {"id": f"{lb}/probes/up"}
    other = {"name": "other", "properties": rule["properties"] | {"frontendPort": 444, "probe": {"id": f"{lb}/probes/down"}}}
    third = {"name": "third", "properties": {name: value for name, value in other["properties"].items() if name != "probe"} | {"frontendPort": 445}}
    balancer["properties"]["loadBalancingRules"] = [rule, other, third]
    made = balancers.begin_create_or_update(PG, "lb1", balancer).result()
    assert [one.probe and one.probe.id.split("/")[-1] for one in made.load_balancing_rules] == ["up", "down", None]
    assert balancers.begin_create_or_update(PG, "lb1", balancers.get(PG, "lb1")).result().etag == made.etag
    at = addresses(endpoint)[0]
    eventually(lambda: knock(at, 444), "ConnectionRefusedError")
    assert (knock(at, 443), knock(at, 445)) == ("pls", "pls")
    balancer["properties"]["loadBalancingRules"][1]["properties"]["probe"] = {"id": f"{lb}/probes/UP"}
    balancers.begin_create_or_update(PG, "lb1", balancer).result()
    eventually(lambda: knock(at, 444), "pls")
    step("each rule of a load balancer has its own probe: a server is left out at the ports of that alone")
    return endpoint


def tags(provider, consumer, endpoint):
    """One tag changed of what was read, and by update_tags: nothing else is another."""
    network, other = provider.network, consumer.network
    kinds = [
        (network.virtual_networks, (PG, "vnet1")),
        (network.load_balancers, (PG, "lb1")),
        (network.private_link_services, (PG, "pls1")),
        (other.virtual_networks, (CG, "cvnet")),
        (other.private_endpoints, (CG, "pe1")),
    ]
    for operations, path in kinds:
        before = operations.get(*path)
        before.tags = {"changed": "yes"}
        written = operations.begin_create_or_update(*path, before).result().as_dict()
        expected = before.as_dict()
        assert {**written, "etag": ""} == {**expected, "etag": ""}, (written, expected)
        if hasattr(operations, "update_tags"):
            assert operations.update_tags(*path, {"tags": {"by": "patch"}}).tags == {"by": "patch"}, path
    reaches(endpoint, 443, "pls")
    group = consumer.resources.resource_groups.get(CG)
    group.tags, group.managed_by = {"a": "b"}, "/subscriptions/s/resourceGroups/g"
    made = consumer.resources.resource_groups.create_or_update(CG, group)
    assert (made.tags, made.managed_by) == ({"a": "b"}, group.managed_by)
    assert consumer.resources.resource_groups.update(CG, {"tags": {"c": "d"}}).managed_by == group.managed_by
    step("one tag changed: everything else is as it was")


def cases(provider, consumer, subnet, pls):
    """IDs in another letter case, and regions as people write them, are the same."""
    endpoints = consumer.network.private_endpoints
    body = request(subnet, pls.id.upper(), False) | {"location": "West Europe"}
    body["properties"]["subnet"]["id"] = subnet.id.upper()
    made = endpoints.begin_create_or_update(CG, "pe-loud", body).result()
    assert (made.location, made.subnet.id) == (REGION, subnet.id), made
    assert made.private_link_service_connections[0].private_link_service_id == pls.id
    body["properties"]["subnet"]["id"] = subnet.id.lower()
    assert endpoints.begin_create_or_update(CG.upper(), "PE-LOUD", body).result().etag == made.etag
    endpoints.begin_delete(CG.upper(), "PE-loud").result()
    fails(ResourceNotFoundError, "ResourceNotFound", endpoints.get, CG, "pe-loud")
    step("IDs in any letter case, West Europe")


def conditions(consumer):
    """What a client expects of an object is checked before anything is changed."""
    vnets = consumer.network.virtual_networks
    vnet = vnets.get(CG, "cvnet")
    tagged = vnet.as_dict() | {"tags": {"n": "1"}}
    for headers in [{"If-Match": '"other"'}, {"If-None-Match": "*"}]:
        try:
            vnets.begin_create_or_update(CG, "cvnet", tagged, headers=headers).result()
            raise AssertionError(f"{headers} was not looked at")
        except HttpResponseError as error:
            assert error.status_code == 412, error
    assert vnets.get(CG, "cvnet").etag == vnet.etag
    for headers in [{"If-Match": vnet.etag}, {"If-Match": "*"}]:
        vnets.begin_create_or_update(CG, "cvnet", tagged, headers=headers).result()
    body = {"location": REGION, "properties": {"addressSpace": {"addressPrefixes": ["10.50.0.0/16"]}}}
    try:
        vnets.begin_create_or_update(CG, "absent", body, headers={"If-Match": "*"}).result()
        raise AssertionError("there is nothing to match")
    except HttpResponseError as error:
        assert error.status_code == 412, error
    vnets.begin_create_or_update(CG, "absent", body, headers={"If-None-Match": "*"}).result()
    vnets.begin_delete(CG, "absent").result()
    step("If-Match and If-None-Match")


def many(consumer, subnet, pls):
    """Many at once have addresses of their own, and are listed in pages."""
    endpoints = consumer.network.private_endpoints
    names = [f"pe-many{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda name: endpoints.begin_create_or_update(CG, name, request(subnet, pls.id, False)).result(), names))
    assert len({addresses(one)[0] for one in made}) == len(names)
    pages = [list(page) for page in endpoints.list(CG, params={"$top": "5"}).by_page()]
    assert [len(page) for page in pages] == [5, 5, 3], [len(page) for page in pages]
    listed = {one.name for page in pages for one in page}
    assert listed == {"pe1", *names}, listed
    for option in ["$filter", "$select", "unknown"]:
        error = fails(HttpResponseError, "InvalidParameter", lambda option: list(endpoints.list(CG, params={option: "x"})), option)
        assert option in error.message, error.message
    error = fails(HttpResponseError, "InvalidParameter", lambda: list(consumer.resources.resource_groups.list(filter="tagName eq 'a'")))
    assert "$filter" in error.message, error.message
    assert len(list(consumer.resources.resource_groups.list(top=1))) >= 1
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: endpoints.begin_delete(CG, name).result(), names))
    step("many at once, pages, options")


def holds(provider, consumer, subnet):
    """What a load balancer is in stays; a peering that one side deletes is Disconnected at the other."""
    client = consumer.network
    space = lambda prefix, *parts: {"location": REGION, "properties": {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": list(parts)}}
    part = {"name": "fe", "properties": {"addressPrefix": "10.61.1.0/24"}}
    one = client.virtual_networks.begin_create_or_update(CG, "one", space("10.61.0.0/16", part)).result()
    two = client.virtual_networks.begin_create_or_update(CG, "two", space("10.62.0.0/16")).result()
    frontend = {"name": "fe", "properties": {"subnet": {"id": one.subnets[0].id}}}
    client.load_balancers.begin_create_or_update(CG, "lb-in", {"location": REGION, "properties": {"frontendIPConfigurations": [frontend]}}).result()
    fails(HttpResponseError, "InUseSubnetCannotBeDeleted", client.subnets.begin_delete, CG, "one", "fe")
    fails(HttpResponseError, "InUse", client.virtual_networks.begin_delete, CG, "one")
    client.load_balancers.begin_delete(CG, "lb-in").result()
    client.subnets.begin_delete(CG, "one", "fe").result()
    peerings = client.virtual_network_peerings
    peer = lambda vnet: {"properties": {"remoteVirtualNetwork": {"id": vnet.id}}}
    meet = lambda: (peerings.begin_create_or_update(CG, "one", "to2", peer(two)).result(), peerings.begin_create_or_update(CG, "two", "to1", peer(one)).result())
    states = lambda: (peerings.get(CG, "one", "to2").peering_state, peerings.get(CG, "two", "to1").peering_state)
    meet()
    assert states() == ("Connected", "Connected")
    peerings.begin_delete(CG, "one", "to2").result()
    assert peerings.get(CG, "two", "to1").peering_state == "Disconnected"
    peerings.begin_create_or_update(CG, "one", "to2", peer(two)).result()
    assert states() == ("Initiated", "Disconnected")
    meet()
    assert states() == ("Connected", "Connected")
    for name in ["one", "two"]:
        client.virtual_networks.begin_delete(CG, name).result()
    step("what a load balancer is in stays, and a peering needs both sides")


def vaults(provider, consumer, subnet):
    """A vault is called by its public name, and its record stands in the private zone."""
    vault = provider.id(PG, "Microsoft.KeyVault/vaults", "kv1")
    target = {"subresource": "vault", "backends": ["10.20.0.2"], "ports": [{"protocol": "tcp", "port": 443, "backendPort": 7000}]}
    vnet = provider.id(PG, "Microsoft.Network/virtualNetworks", "vnet1")
    properties = {"visibility": {"subscriptions": ["*"]}, "autoApproval": {"subscriptions": [consumer.subscription]}, "privlink": {"vnet": vnet, "nat": ["10.20.99.40"], "targets": [target]}}
    provider.resources.resources.begin_create_or_update_by_id(vault, {"location": REGION, "properties": properties}, api_version="2023-07-01").result()
    endpoint = consumer.network.private_endpoints.begin_create_or_update(CG, "pe-kv", request(subnet, vault, False, groups=["vault"])).result()
    assert [one.fqdn for one in endpoint.custom_dns_configs] == ["kv1.vault.azure.net"], endpoint.custom_dns_configs
    reaches(endpoint, 443, "pls")
    dns = PrivateDnsManagementClient(consumer.token, consumer.subscription, base_url=URL, connection_verify=CA, polling_interval=1)
    name = "privatelink.vaultcore.azure.net"
    zone = dns.private_zones.begin_create_or_update(CG, name, {"location": "global"}).result()
    config = {"properties": {"privateDnsZoneConfigs": [{"name": "kv", "properties": {"privateDnsZoneId": zone.id}}]}}
    group = consumer.network.private_dns_zone_groups.begin_create_or_update(CG, "pe-kv", "default", config).result()
    sets = group.private_dns_zone_configs[0].record_sets
    assert [(one.record_set_name, one.fqdn) for one in sets] == [("kv1", f"kv1.{name}")], sets
    assert dns.record_sets.get(CG, name, "A", "kv1").a_records[0].ipv4_address == addresses(endpoint)[0]
    consumer.network.private_endpoints.begin_delete(CG, "pe-kv").result()
    provider.resources.resources.begin_delete_by_id(vault, api_version="2023-07-01").result()
    step("a vault's name is x.vault.azure.net, and its record x in privatelink.vaultcore.azure.net")


def gone(provider, consumer):
    """In an order that nobody would choose: what is used stays, and groups go with everything."""
    fails(HttpResponseError, "InUse", provider.network.load_balancers.begin_delete, PG, "lb1")
    held = "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections"
    fails(HttpResponseError, held, provider.resources.resource_groups.begin_delete, PG)
    consumer.resources.resource_groups.begin_delete(CG).result()
    provider.resources.resource_groups.begin_delete(PG).result()
    for side, group in [(provider, PG), (consumer, CG)]:
        assert not side.resources.resource_groups.check_existence(group)
        fails(ResourceNotFoundError, "ResourceGroupNotFound", side.resources.resource_groups.begin_delete, group)
    step("groups go with everything in them, in the right order")


def main():
    provider = Side(os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"], Token(PROVIDER))
    consumer = Side(os.environ["PRIVLINK_CONSUMER_SUBSCRIPTION"], Token(CONSUMER))
    consumer.token = Token(CONSUMER)
    subnet = networks(provider, consumer)
    pls = service(provider, consumer)
    pls.auto_approval = {"subscriptions": [consumer.subscription]}
    pls = provider.network.private_link_services.begin_create_or_update(PG, "pls1", pls).result()
    endpoint = probes(provider, consumer, subnet, pls)
    tags(provider, consumer, endpoint)
    cases(provider, consumer, subnet, pls)
    conditions(consumer)
    many(consumer, subnet, pls)
    holds(provider, consumer, subnet)
    vaults(provider, consumer, subnet)
    gone(provider, consumer)
    print("beside the straight way: done")


if __name__ == "__main__":
    sys.exit(main())
