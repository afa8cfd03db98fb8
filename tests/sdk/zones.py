"""The unmodified azure-mgmt-privatedns against a running daemon, and the VNet's resolver asked after every step.

Zones, links, record sets of every type with their conditions and pages, and zone groups of endpoints. Started by
tests/netns/sdk.rs, which makes the namespaces, the servers and the tokens.
"""

import subprocess
import time

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.mgmt.privatedns import PrivateDnsManagementClient

from workflow import CA, CONSUMER, PROVIDER, REGION, URL, Side, Token, fails, networks, request, state, step

GROUP, ZONE, BLOBS = "rg-consumer", "contoso.internal", "privatelink.blob.core.windows.net"
RESOLVER = "10.1.255.254"
HOST = f"accta.{BLOBS}."


def ask(name, kind="A"):
    """What the resolver of the consumer's VNet answers, in short; the answer's code where there is nothing."""
    command = ["ip", "netns", "exec", "spoke", "dig", "+time=2", "+tries=2", f"@{RESOLVER}", name, kind]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = said.split(";; ANSWER SECTION:\n")[1].split("\n\n")[0].splitlines() if "ANSWER SECTION" in said else []
    answers = [line.split(None, 4)[4].replace("\t", " ") for line in lines]
    return answers or said.split("status: ")[1].split(",")[0] if "status: " in said else "silent"


def answers(name, kind, expected):
    """The resolver answers so by the time that a client asks."""
    for _ in range(20):
        said = ask(name, kind)
        if said == expected:
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} {kind}: {said}, not {expected}")


def zones(dns, consumer):
    made = dns.private_zones.begin_create_or_update(GROUP, ZONE, {"location": "global", "tags": {"team": "shop"}}).result()
    assert (made.name, made.location, made.tags) == (ZONE, "global", {"team": "shop"}), made
    assert made.number_of_record_sets == 1 and made.max_number_of_record_sets == 25000, made
    create = dns.private_zones.begin_create_or_update
    fails(ResourceExistsError, "PreconditionFailed", create, GROUP, ZONE, {"location": "global"}, etag="*", match_condition=MatchConditions.IfMissing)
    again = create(GROUP, ZONE, dns.private_zones.get(GROUP, ZONE)).result()
    assert again.etag == made.etag
    fails(HttpResponseError, "InvalidRequestFormat", create, GROUP, ZONE, {"location": REGION})
    fails(HttpResponseError, "InvalidZoneName", create, GROUP, "one-label", {"location": "global"})
    assert [one.name for one in dns.private_zones.list_by_resource_group(GROUP)] == [ZONE]
    assert [one.name for one in dns.private_zones.list()] == [ZONE]
    patched = dns.private_zones.begin_update(GROUP, ZONE, {"tags": {"team": "ops"}}).result()
    assert patched.tags == {"team": "ops"}
    fails(ResourceNotFoundError, "ResourceNotFound", dns.private_zones.get, GROUP, "other.internal")
    assert ask(f"www.{ZONE}") == "REFUSED", "nobody sees it yet"

    vnet = consumer.id(GROUP, "Microsoft.Network/virtualNetworks", "cvnet")
    body = {"location": "global", "properties": {"virtualNetwork": {"id": vnet}, "registrationEnabled": False}}
    link = dns.virtual_network_links.begin_create_or_update(GROUP, ZONE, "l1", body).result()
    assert (link.resolution_policy, link.virtual_network_link_state) == ("Default", "Completed"), link
    answers(f"www.{ZONE}", "A", "NXDOMAIN")
    code = "VirtualNetworkLinkedTwice"
    fails(HttpResponseError, code, dns.virtual_network_links.begin_create_or_update, GROUP, ZONE, "l2", body)
    body["properties"]["resolutionPolicy"] = "NxDomainRedirect"
    link = dns.virtual_network_links.begin_create_or_update(GROUP, ZONE, "l1", body).result()
    assert link.resolution_policy == "NxDomainRedirect"
    answers(f"www.{ZONE}", "A", "REFUSED")
    link = dns.virtual_network_links.begin_update(GROUP, ZONE, "l1", {"properties": {"resolutionPolicy": "Default"}}).result()
    assert link.resolution_policy == "Default" and link.virtual_network.id == vnet
    answers(f"www.{ZONE}", "A", "NXDOMAIN")
    assert [one.name for one in dns.virtual_network_links.list(GROUP, ZONE)] == ["l1"]
    assert dns.private_zones.get(GROUP, ZONE).number_of_virtual_network_links == 1
    fails(ResourceExistsError, "CannotDeleteResource", dns.private_zones.begin_delete, GROUP, ZONE)
    code = "InUse"
    fails(ResourceExistsError, code, consumer.network.virtual_networks.begin_delete, GROUP, "cvnet")
    step("a zone is made, linked, and its policy followed")


RECORDS = [
    ("A", "www", {"aRecords": [{"ipv4Address": "10.1.1.9"}, {"ipv4Address": "10.1.1.10"}]}, ["10.1.1.9", "10.1.1.10"]),
    ("AAAA", "www", {"aaaaRecords": [{"ipv6Address": "fd00::9"}]}, ["fd00::9"]),
    ("CNAME", "alias", {"cnameRecord": {"cname": f"www.{ZONE}"}}, [f"www.{ZONE}."]),
    ("MX", "@", {"mxRecords": [{"preference": 10, "exchange": f"mail.{ZONE}"}]}, [f"10 mail.{ZONE}."]),
    ("PTR", "4.9", {"ptrRecords": [{"ptrdname": f"db.{ZONE}"}]}, [f"db.{ZONE}."]),
    ("SRV", "_sip._tcp", {"srvRecords": [{"priority": 0, "weight": 5, "port": 5060, "target": f"pbx.{ZONE}"}]}, [f"0 5 5060 pbx.{ZONE}."]),
    ("TXT", "www", {"txtRecords": [{"value": ["hello ", "there"]}]}, ['"hello " "there"']),
]


def records(dns):
    sets = dns.record_sets
    for kind, name, values, expected in RECORDS:
        made = sets.create_or_update(GROUP, ZONE, kind, name, {"properties": {"ttl": 300, **values}})
        full = ZONE if name == "@" else f"{name}.{ZONE}"
        assert (made.name, made.ttl, made.fqdn) == (name, 300, f"{full}."), made
        answers(full, kind, expected)
        found = sets.get(GROUP, ZONE, kind, name)
        assert found.etag == made.etag
        # What was read is a good body.
        assert sets.create_or_update(GROUP, ZONE, kind, name, found).etag == made.etag
    answers(f"alias.{ZONE}", "A", [f"www.{ZONE}.", "10.1.1.9", "10.1.1.10"])
    sets.create_or_update(GROUP, ZONE, "A", "*", {"properties": {"ttl": 60, "aRecords": [{"ipv4Address": "10.1.1.99"}]}})
    answers(f"anything.{ZONE}", "A", ["10.1.1.99"])
    sets.delete(GROUP, ZONE, "A", "*")
    answers(f"anything.{ZONE}", "A", "NXDOMAIN")
    step("record sets of every type are answered as they are written")

    www = sets.get(GROUP, ZONE, "A", "www")
    patched = sets.update(GROUP, ZONE, "A", "www", {"properties": {"ttl": 60, "metadata": {"by": "me"}}})
    assert patched.ttl == 60 and patched.metadata == {"by": "me"} and len(patched.a_records) == 2
    only = {"etag": www.etag, "match_condition": MatchConditions.IfNotModified}
    body = {"properties": {"ttl": 60, "aRecords": [{"ipv4Address": "10.1.1.11"}]}}
    fails(ResourceModifiedError, "PreconditionFailed", sets.create_or_update, GROUP, ZONE, "A", "www", body, **only)
    fails(ResourceModifiedError, "PreconditionFailed", sets.update, GROUP, ZONE, "A", "www", body, **only)
    fails(ResourceModifiedError, "PreconditionFailed", sets.delete, GROUP, ZONE, "A", "www", **only)
    missing = {"etag": "*", "match_condition": MatchConditions.IfMissing}
    fails(ResourceExistsError, "PreconditionFailed", sets.create_or_update, GROUP, ZONE, "A", "www", body, **missing)
    answers(f"www.{ZONE}", "A", ["10.1.1.9", "10.1.1.10"])
    only["etag"] = patched.etag
    sets.create_or_update(GROUP, ZONE, "A", "www", body, **only)
    answers(f"www.{ZONE}", "A", ["10.1.1.11"])
    step("conditions: what somebody changed meanwhile is not overwritten")

    invalid = [
        ("A", "www", {"aRecords": [{"ipv4Address": "fd00::1"}]}, "InvalidRequestFormat"),
        ("A", "a..b", {"aRecords": [{"ipv4Address": "10.0.0.1"}]}, "InvalidRequestFormat"),
        ("CNAME", "www", {"cnameRecord": {"cname": "db.example.com"}}, "CnameNotAlone"),
        ("CNAME", "@", {"cnameRecord": {"cname": "db.example.com"}}, "InvalidModel"),
        ("TXT", "long", {"txtRecords": [{"value": ["x" * 255] * 5}]}, "InvalidRecordSet"),
    ]
    for values in [{}, {"aRecords": []}]:
        sets.create_or_update(GROUP, ZONE, "A", "empty", {"properties": {"ttl": 60, **values}})
        kept = sets.get(GROUP, ZONE, "A", "empty")
        assert not kept.a_records and kept.ttl == 60, kept
        answers(f"empty.{ZONE}", "A", "NXDOMAIN")
        sets.delete(GROUP, ZONE, "A", "empty")
    for kind, name, values, code in invalid:
        fails(HttpResponseError, code, sets.create_or_update, GROUP, ZONE, kind, name, {"properties": {"ttl": 60, **values}})
    fails(HttpResponseError, "InvalidRequestFormat", sets.delete, GROUP, ZONE, "SOA", "@")
    soa = sets.update(GROUP, ZONE, "SOA", "@", {"properties": {"soaRecord": {"minimumTtl": 33}}})
    assert soa.soa_record.minimum_ttl == 33 and soa.soa_record.refresh_time == 3600
    assert " 33" in ask(ZONE, "SOA")[0]

    assert [one.name for one in sets.list_by_type(GROUP, ZONE, "A")] == ["www"]
    names = sorted((one.type.split("/")[-1], one.name) for one in sets.list(GROUP, ZONE))
    expected = sorted([(kind, name) for kind, name, _, _ in RECORDS] + [("SOA", "@")])
    assert names == expected, names
    assert [one.name for one in sets.list(GROUP, ZONE, recordsetnamesuffix="_tcp")] == ["_sip._tcp"]
    for number in range(5):
        sets.create_or_update(GROUP, ZONE, "A", f"host{number}", {"properties": {"ttl": 60, "aRecords": [{"ipv4Address": f"10.1.2.{number}"}]}})
    pages = list(sets.list_by_type(GROUP, ZONE, "A", top=2).by_page())
    assert len([list(page) for page in pages]) == 3, "six sets, two on each page"
    for number in range(5):
        sets.delete(GROUP, ZONE, "A", f"host{number}")
    sets.delete(GROUP, ZONE, "A", "host0")
    step("what cannot be is refused; lists by type, by suffix, in pages")


def groups(dns, provider, consumer, subnet):
    vnet = provider.id("rg-provider", "Microsoft.Network/virtualNetworks", "vnet1")
    target = {"subresource": "blob", "backends": ["10.20.1.1"], "ports": [{"protocol": "tcp", "port": 443, "backendPort": 10000}]}
    everybody = {"visibility": {"subscriptions": ["*"]}, "autoApproval": {"subscriptions": [consumer.subscription]}}
    body = {
        "location": REGION,
        "sku": {"name": "Standard_LRS"},
        "kind": "StorageV2",
        "properties": {**everybody, "privlink": {"vnet": vnet, "nat": ["10.20.99.20"], "targets": [target]}},
    }
    account = provider.storage.storage_accounts.begin_create("rg-provider", "accta", body).result()
    endpoints = consumer.network.private_endpoints
    made = [
        endpoints.begin_create_or_update(GROUP, name, request(subnet, account.id, False, groups=["blob"])).result()
        for name in ["pe1", "pe2"]
    ]
    ips = [one.custom_dns_configs[0].ip_addresses[0] for one in made]
    answers("accta.blob.core.windows.net", "A", [HOST, *ips])

    blobs = dns.private_zones.begin_create_or_update(GROUP, BLOBS, {"location": "global"}).result()
    link = {"location": "global", "properties": {"virtualNetwork": {"id": subnet.id.split("/subnets/")[0]}}}
    sides = consumer.network.private_dns_zone_groups
    config = {"properties": {"privateDnsZoneConfigs": [{"name": "blobs", "properties": {"privateDnsZoneId": blobs.id}}]}}
    group = sides.begin_create_or_update(GROUP, "pe1", "default", config).result()
    answers("accta.blob.core.windows.net", "A", [HOST, ips[1]])
    inner = group.private_dns_zone_configs[0]
    record = inner.record_sets[0]
    assert (inner.name, record.record_set_name, record.record_type, record.ip_addresses) == ("blobs", "accta", "A", [ips[0]]), inner
    assert record.fqdn == f"accta.{BLOBS}", record
    dns.virtual_network_links.begin_create_or_update(GROUP, BLOBS, "l1", link).result()
    answers("accta.blob.core.windows.net", "A", [HOST, *ips])
    answers(f"other.{BLOBS}", "A", "NXDOMAIN")
    sides.begin_create_or_update(GROUP, "pe2", "default", config).result()
    answers("accta.blob.core.windows.net", "A", [HOST, *ips])
    code = "PrivateDnsZoneGroupLimitExceeded"
    fails(HttpResponseError, code, sides.begin_create_or_update, GROUP, "pe1", "second", config)
    assert [one.name for one in sides.list("pe1", GROUP)] == ["default"]
    assert sides.get(GROUP, "pe1", "default").etag == group.etag
    found = dns.record_sets.get(GROUP, BLOBS, "A", "accta")
    assert sorted(one.ipv4_address for one in found.a_records) == sorted(ips), found
    assert [one.name for one in dns.record_sets.list(GROUP, BLOBS)] == ["@", "accta"]
    fails(ResourceExistsError, "RecordSetOfPrivateEndpoint", dns.record_sets.delete, GROUP, BLOBS, "A", "accta")
    # Somebody's own address beside theirs: theirs stay theirs, though all are written again.
    found.a_records.append({"ipv4Address": "10.1.1.50"})
    dns.record_sets.create_or_update(GROUP, BLOBS, "A", "accta", found)
    answers("accta.blob.core.windows.net", "A", [HOST, "10.1.1.50", *ips])
    # What an endpoint is written with again says nothing of its zones.
    endpoints.begin_create_or_update(GROUP, "pe1", endpoints.get(GROUP, "pe1")).result()
    answers("accta.blob.core.windows.net", "A", [HOST, "10.1.1.50", *ips])
    step("zone groups: records of each endpoint stand in the zone, and are shown")

    endpoints.begin_delete(GROUP, "pe1").result()
    answers("accta.blob.core.windows.net", "A", [HOST, "10.1.1.50", ips[1]])
    dns.record_sets.delete(GROUP, BLOBS, "A", "accta")
    answers("accta.blob.core.windows.net", "A", [HOST, ips[1]])
    six = {"properties": {"privateDnsZoneConfigs": []}}
    for number in range(6):
        zone = dns.private_zones.begin_create_or_update(GROUP, f"z{number}.internal", {"location": "global"}).result()
        six["properties"]["privateDnsZoneConfigs"].append({"name": f"z{number}", "properties": {"privateDnsZoneId": zone.id}})
    fails(HttpResponseError, "TooManyPrivateDnsZones", sides.begin_create_or_update, GROUP, "pe2", "default", six)
    sides.begin_delete(GROUP, "pe2", "default").result()
    sides.begin_delete(GROUP, "pe2", "default").result()
    dns.virtual_network_links.begin_delete(GROUP, BLOBS, "l1").result()
    answers("accta.blob.core.windows.net", "A", [HOST, ips[1]])
    assert state(endpoints.get(GROUP, "pe2")) == "Approved"
    step("one endpoint deleted, the other's records stay; five zones at most")


def end(dns, consumer):
    for zone in list(dns.private_zones.list_by_resource_group(GROUP)):
        for link in list(dns.virtual_network_links.list(GROUP, zone.name)):
            dns.virtual_network_links.begin_delete(GROUP, zone.name, link.name).result()
            dns.virtual_network_links.begin_delete(GROUP, zone.name, link.name).result()
        dns.private_zones.begin_delete(GROUP, zone.name).result()
        dns.private_zones.begin_delete(GROUP, zone.name).result()
    assert list(dns.private_zones.list()) == []
    assert ask(f"www.{ZONE}") == "REFUSED"
    step("nothing is left")


def main():
    import os

    provider = Side(os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"], Token(PROVIDER))
    token = Token(CONSUMER)
    consumer = Side(os.environ["PRIVLINK_CONSUMER_SUBSCRIPTION"], token)
    provider.token, consumer.token = Token(PROVIDER), token
    dns = PrivateDnsManagementClient(token, consumer.subscription, base_url=URL, connection_verify=CA, polling_interval=1)
    subnet = networks(provider, consumer)
    vnet = consumer.network.virtual_networks.get(GROUP, "cvnet").as_dict()
    vnet["properties"]["privlink"] = {"dns": {"listen": [RESOLVER]}}
    consumer.network.virtual_networks.begin_create_or_update(GROUP, "cvnet", vnet).result()
    answers(f"www.{ZONE}", "A", "REFUSED")
    zones(dns, consumer)
    records(dns)
    groups(dns, provider, consumer, subnet)
    end(dns, consumer)
    print("zones over the SDK: done")


if __name__ == "__main__":
    main()
