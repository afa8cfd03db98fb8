"""The unmodified Azure SDK against a running daemon, packets after every step.

Two tokens, a provider's and a consumer's, go the whole way: groups, networks, a service behind a load balancer, manual
and automatic endpoints, every subresource of Azure's table of 2019, a type with two members. Started by tests/netns/sdk.rs,
which makes the namespaces, the servers and the tokens.
"""

import os
import subprocess
import sys

from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

URL, CA = os.environ["PRIVLINK_URL"], os.environ["PRIVLINK_CA"]
PROVIDER, CONSUMER = os.environ["PRIVLINK_PROVIDER"], os.environ["PRIVLINK_CONSUMER"]
LIMITS = os.environ["PRIVLINK_LIMITS"]
REGION = "westeurope"
BLOB_AND_OTHERS = ["blob", "table", "queue", "file", "web", "dfs"]


MANUAL = "properties.manualPrivateLinkServiceConnections.0"
READ_ONLY = [
    ("id", "/subscriptions/x/resourceGroups/y/providers/Microsoft.Network/privateEndpoints/z"),
    ("name", "other"),
    ("type", "Microsoft.Network/other"),
    ("etag", "W/\"0\""),
    ("properties.provisioningState", "Failed"),
    ("properties.resourceGuid", "00000000-0000-0000-0000-000000000000"),
    ("properties.networkInterfaces", [{"id": "/subscriptions/x"}]),
    ("properties.customDnsConfigs", [{"fqdn": "other.internal", "ipAddresses": ["10.1.9.99"]}]),
    ("properties.privlink.linkIdentifier", "7"),
    (f"{MANUAL}.properties.provisioningState", "Failed"),
    (f"{MANUAL}.properties.privateLinkServiceConnectionState", {"status": "Approved", "description": "by myself"}),
    (f"{MANUAL}.id", "/subscriptions/x"),
    (f"{MANUAL}.etag", "W/\"0\""),
]


class Token:
    """A credential that holds one token."""

    def __init__(self, path):
        self.token = open(path, encoding="ascii").read().strip()

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, 4102444800)


class Side:
    """One caller's clients, all unmodified."""

    def __init__(self, subscription, token):
        options = {"base_url": URL, "connection_verify": CA, "polling_interval": 1}
        self.subscription = subscription
        self.network = NetworkManagementClient(token, subscription, **options)
        self.storage = StorageManagementClient(token, subscription, **options)
        self.resources = ResourceManagementClient(token, subscription, **options)

    def id(self, group, kind, name):
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}/providers/{kind}/{name}"


def knock(address, port):
    """What the service at an endpoint's address says, from the consumer's network; else the name of the error."""
    program = (
        "import socket, sys\n"
        "try:\n"
        "    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2, ('10.1.0.5', 0))\n"
        "    f = s.makefile('rw')\n"
        "    name = f.readline().strip()\n"
        "    f.write('hello\\n'); f.flush()\n"
        "    print(name if f.readline() == 'hello\\n' else 'garbled')\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )
    command = ["ip", "netns", "exec", "spoke", "python3", "-c", program, address, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def reaches(endpoint, port, name):
    address = addresses(endpoint)[0]
    said = knock(address, port)
    assert said == name, f"{endpoint.name} at {address}:{port}: {said}, not {name}"


def is_refused(endpoint, port):
    reaches(endpoint, port, "ConnectionRefusedError")


def addresses(endpoint):
    return [ip for config in endpoint.custom_dns_configs for ip in config.ip_addresses]


def fails(kind, code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except kind as error:
        found = error.error.code if getattr(error, "error", None) else None
        assert found == code, f"{found}, not {code}: {error.message}"
        return error
    raise AssertionError(f"{call.__name__} should have failed with {code}")


def step(text):
    print(f"  {text}", flush=True)


def state(endpoint):
    both = (endpoint.private_link_service_connections or []) + (endpoint.manual_private_link_service_connections or [])
    return both[0].private_link_service_connection_state.status


def networks(provider, consumer):
    for side, group in [(provider, "rg-provider"), (consumer, "rg-consumer")]:
        made = side.resources.resource_groups.create_or_update(group, {"location": REGION})
        assert made.name == group and made.properties.provisioning_state == "Succeeded"
        assert group in [one.name for one in side.resources.resource_groups.list()]
        assert side.resources.resource_groups.check_existence(group)
    space = {"addressPrefixes": ["10.20.0.0/16"]}
    subnets = [{"name": "pls", "properties": {"addressPrefix": "10.20.99.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}}]
    body = {"location": REGION, "properties": {"addressSpace": space, "subnets": subnets}}
    provider.network.virtual_networks.begin_create_or_update("rg-provider", "vnet1", body).result()
    body = {"location": REGION, "tags": {"team": "shop"}, "properties": {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}}
    vnet = consumer.network.virtual_networks.begin_create_or_update("rg-consumer", "cvnet", body).result()
    assert vnet.tags == {"team": "shop"} and vnet.provisioning_state == "Succeeded"
    body = {"properties": {"addressPrefix": "10.1.9.0/24", "privlink": {"dedicated": True}}}
    subnet = consumer.network.subnets.begin_create_or_update("rg-consumer", "cvnet", "pe", body).result()
    assert [one.name for one in consumer.network.subnets.list("rg-consumer", "cvnet")] == ["pe"]
    # An object that was read is a good body.
    vnet = consumer.network.virtual_networks.get("rg-consumer", "cvnet")
    again = consumer.network.virtual_networks.begin_create_or_update("rg-consumer", "cvnet", vnet).result()
    assert again.etag == vnet.etag and again.subnets[0].id == subnet.id
    # Neither sees the other's.
    fails(HttpResponseError, "AuthorizationFailed", consumer_view(provider, consumer).virtual_networks.get, "rg-provider", "vnet1")
    return subnet


def consumer_view(provider, consumer):
    """The consumer's token in the provider's subscription."""
    return NetworkManagementClient(consumer.token, provider.subscription, base_url=URL, connection_verify=CA)


def service(provider, consumer):
    lb = provider.id("rg-provider", "Microsoft.Network/loadBalancers", "lb1")
    vnet = provider.id("rg-provider", "Microsoft.Network/virtualNetworks", "vnet1")
    body = {
        "location": REGION,
        "sku": {"name": "Standard"},
        "properties": {
            "frontendIPConfigurations": [
                {"name": "fe", "properties": {"privateIPAddress": "10.20.99.10", "privateIPAllocationMethod": "Static", "subnet": {"id": f"{vnet}/subnets/pls"}}}
            ],
            "backendAddressPools": [
                {"name": "be", "properties": {"loadBalancerBackendAddresses": [{"name": "b1", "properties": {"ipAddress": "10.20.0.2", "virtualNetwork": {"id": vnet}}}]}}
            ],
            "loadBalancingRules": [
                {
                    "name": "https",
                    "properties": {
                        "protocol": "Tcp",
                        "frontendPort": 443,
                        "backendPort": 7000,
                        "frontendIPConfiguration": {"id": f"{lb}/frontendIPConfigurations/fe"},
                        "backendAddressPool": {"id": f"{lb}/backendAddressPools/be"},
                    },
                }
            ],
        },
    }
    balancer = provider.network.load_balancers.begin_create_or_update("rg-provider", "lb1", body).result()
    assert balancer.load_balancing_rules[0].backend_port == 7000
    body = {
        "location": REGION,
        "properties": {
            "visibility": {"subscriptions": [consumer.subscription]},
            "loadBalancerFrontendIpConfigurations": [{"id": f"{lb}/frontendIPConfigurations/fe"}],
            "ipConfigurations": [{"name": "nat", "properties": {"primary": True, "subnet": {"id": f"{vnet}/subnets/pls"}, "privateIPAllocationMethod": "Dynamic"}}],
            "enableProxyProtocol": False,
            "fqdns": ["api.contoso.internal"],
        },
    }
    pls = provider.network.private_link_services.begin_create_or_update("rg-provider", "pls1", body).result()
    # An address that nobody chose is not in its configuration: a client would order it the next time.
    assert pls.ip_configurations[0].private_ip_address is None, pls.ip_configurations
    raw = provider.resources.resources.get_by_id(pls.id, api_version="2024-05-01")
    assert raw.properties["privlink"]["nat"] == ["10.20.99.4"], raw.properties
    for alias, visible in [(pls.alias, True), ("nope.nothing.here.privlink", False)]:
        answer = consumer.network.private_link_services.begin_check_private_link_service_visibility(
            REGION, {"privateLinkServiceAlias": alias}
        ).result()
        assert answer.visible is visible, (alias, answer)
    types = consumer.network.available_private_endpoint_types.list(REGION)
    assert "Microsoft.Storage/storageAccounts" in [one.resource_name for one in types]
    return pls


def request(subnet, target, manual, name="c1", groups=(), **properties):
    which = "manualPrivateLinkServiceConnections" if manual else "privateLinkServiceConnections"
    asked = {"privateLinkServiceId": target, "requestMessage": "please approve"}
    if groups:
        asked["groupIds"] = list(groups)
    return {"location": REGION, "properties": {"subnet": {"id": subnet.id}, which: [{"name": name, "properties": asked}], **properties}}


def workflow(provider, consumer, subnet, pls):
    endpoints, services = consumer.network.private_endpoints, provider.network.private_link_services
    config = [{"name": "ip1", "properties": {"privateIPAddress": "10.1.9.50", "groupId": "", "memberName": ""}}]
    body = request(subnet, pls.alias, True, ipConfigurations=config, customNetworkInterfaceName="pe-manual-nic")
    endpoint = endpoints.begin_create_or_update("rg-consumer", "pe-manual", body).result()
    assert state(endpoint) == "Pending" and addresses(endpoint) == ["10.1.9.50"]
    is_refused(endpoint, 443)
    step("manual: Pending, packets refused")
    again = endpoints.begin_create_or_update("rg-consumer", "pe-manual", body).result()
    assert again.etag == endpoint.etag
    nic = consumer.network.network_interfaces.get("rg-consumer", "pe-manual-nic")
    assert nic.ip_configurations[0].private_ip_address == "10.1.9.50" and nic.private_endpoint.id == endpoint.id
    fails(HttpResponseError, "NicInUseWithPrivateEndpoint", consumer.network.network_interfaces.begin_delete, "rg-consumer", "pe-manual-nic")

    connection = list(services.list_private_endpoint_connections("rg-provider", "pls1"))[0]
    assert connection.private_endpoint.id == endpoint.id
    number = connection.link_identifier

    def decide(status, description="", who=provider.network):
        body = {"properties": {"privateLinkServiceConnectionState": {"status": status, "description": description}}}
        return who.private_link_services.update_private_endpoint_connection("rg-provider", "pls1", connection.name, body)

    fails(HttpResponseError, "AuthorizationFailed", decide, "Approved", who=consumer_view(provider, consumer))
    is_refused(endpoint, 443)
    approved = decide("Approved", "welcome")
    assert approved.private_link_service_connection_state.status == "Approved" and approved.link_identifier == number
    reaches(endpoint, 443, "pls")
    is_refused(endpoint, 7000)
    seen = endpoints.get("rg-consumer", "pe-manual", expand="networkInterfaces")
    assert state(seen) == "Approved" and seen.manual_private_link_service_connections[0].private_link_service_connection_state.description == "welcome"
    step("approved: packets pass, and only to the exposed port")
    # The consumer's word on the state changes nothing, for nobody.
    sly = request(subnet, pls.alias, True, customNetworkInterfaceName="pe-manual-nic")
    sly["properties"]["manualPrivateLinkServiceConnections"][0]["properties"]["privateLinkServiceConnectionState"] = {"status": "Approved"}
    decide("Rejected", "no")
    is_refused(endpoint, 443)
    assert state(endpoints.begin_create_or_update("rg-consumer", "pe-manual", sly).result()) == "Rejected"
    is_refused(endpoint, 443)
    for status, look in [("Rejected", lambda: is_refused(endpoint, 443)), ("Approved", lambda: reaches(endpoint, 443, "pls"))]:
        decide(status)
        look()
        for place, value in READ_ONLY:
            body = request(subnet, pls.alias, True, customNetworkInterfaceName="pe-manual-nic")
            *path, last = place.split(".")
            part = body
            for name in path:
                part = part[int(name)] if name.isdigit() else part.setdefault(name, {})
            part[last] = value
            before = endpoints.get("rg-consumer", "pe-manual")
            after = endpoints.begin_create_or_update("rg-consumer", "pe-manual", body).result()
            assert after.etag == before.etag, place
            look()
    step("rejected and approved again, packets follow; read-only properties change neither answers nor packets")
    fails(HttpResponseError, "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections", services.begin_delete, "rg-provider", "pls1")

    pls.auto_approval = {"subscriptions": [consumer.subscription]}
    services.begin_create_or_update("rg-provider", "pls1", pls).result()
    listed = consumer.network.private_link_services.list_auto_approved_private_link_services(REGION)
    assert [one.private_link_service for one in listed] == [pls.id]
    auto = endpoints.begin_create_or_update("rg-consumer", "pe-auto", request(subnet, pls.id, False)).result()
    assert state(auto) == "Approved"
    reaches(auto, 443, "pls")
    assert {one.name for one in endpoints.list("rg-consumer")} == {"pe-manual", "pe-auto"}
    step("automatic: Approved by the list, packets pass")

    services.begin_delete_private_endpoint_connection("rg-provider", "pls1", connection.name).result()
    services.begin_delete_private_endpoint_connection("rg-provider", "pls1", connection.name).result()
    assert state(endpoints.get("rg-consumer", "pe-manual")) == "Disconnected"
    is_refused(endpoint, 443)
    for name in ["pe-manual", "pe-manual", "pe-auto"]:
        endpoints.begin_delete("rg-consumer", name).result()
    fails(ResourceNotFoundError, "ResourceNotFound", endpoints.get, "rg-consumer", "pe-manual")
    assert list(endpoints.list_by_subscription()) == []
    services.begin_delete("rg-provider", "pls1").result()
    step("removed and deleted: nothing passes, nothing is left")


def direct(provider, consumer, subnet):
    vnet = provider.id("rg-provider", "Microsoft.Network/virtualNetworks", "vnet1")
    body = {
        "location": REGION,
        "properties": {
            "destinationIPAddress": "10.20.0.2",
            "visibility": {"subscriptions": ["*"]},
            "autoApproval": {"subscriptions": [consumer.subscription]},
            "ipConfigurations": [{"name": "nat", "properties": {"primary": True, "subnet": {"id": f"{vnet}/subnets/pls"}}}],
        },
    }
    pls = provider.network.private_link_services.begin_create_or_update("rg-provider", "pls2", body).result()
    endpoint = consumer.network.private_endpoints.begin_create_or_update("rg-consumer", "pe-direct", request(subnet, pls.id, False)).result()
    address = consumer.network.network_interfaces.get("rg-consumer", endpoint.network_interfaces[0].id.split("/")[-1])
    address = address.ip_configurations[0].private_ip_address
    assert knock(address, 7000) == "pls"
    consumer.network.private_endpoints.begin_delete("rg-consumer", "pe-direct").result()
    assert knock(address, 7000) != "pls"
    provider.network.private_link_services.begin_delete("rg-provider", "pls2").result()
    step("a direct destination exposes its server as it is")


def subresources(provider, consumer, subnet):
    """The thirteen subresources of Azure's table of 2019: each created, approved, reached by a packet, and by its own only."""
    vnet = provider.id("rg-provider", "Microsoft.Network/virtualNetworks", "vnet1")
    names = BLOB_AND_OTHERS + [f"{name}_secondary" for name in BLOB_AND_OTHERS]
    target = lambda index, name: {
        "subresource": name,
        "backends": [f"10.20.1.{index + 1}"],
        "ports": [{"protocol": "tcp", "port": 443, "backendPort": 10000}],
    }
    body = {
        "location": REGION,
        "sku": {"name": "Standard_LRS"},
        "kind": "StorageV2",
        "properties": {"privlink": {"vnet": vnet, "nat": ["10.20.99.20"], "targets": [target(*one) for one in enumerate(names)]}},
    }
    account = provider.storage.storage_accounts.begin_create("rg-provider", "accta", body).result()
    assert account.kind == "StorageV2" and account.sku.name == "Standard_LRS"
    listed = provider.storage.private_link_resources.list_by_storage_account("rg-provider", "accta").value
    assert sorted(one.group_id for one in listed) == sorted(names)
    sql = provider.id("rg-provider", "Microsoft.Sql/servers", "sql1")
    body = {"location": REGION, "properties": {"privlink": {"vnet": vnet, "nat": ["10.20.99.21"], "targets": [target(12, "sqlServer")]}}}
    provider.resources.resources.begin_create_or_update_by_id(sql, body, api_version="2023-08-01").result()

    endpoints = consumer.network.private_endpoints
    for name in names + ["sqlServer"]:
        resource = sql if name == "sqlServer" else account.id
        body = request(subnet, resource, True, groups=[name])
        if name == "blob":
            # Whoever knows its ID may ask, until its owner closes it: then it might as well not be there.
            of = {"location": REGION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
            provider.storage.storage_accounts.begin_create("rg-provider", "accta", {"properties": {"visibility": {"subscriptions": []}}, **of}).result()
            fails(HttpResponseError, "InvalidResourceReference", endpoints.begin_create_or_update, "rg-consumer", "pe-blob", body)
            provider.storage.storage_accounts.begin_create("rg-provider", "accta", {"properties": {"visibility": {"subscriptions": [consumer.subscription]}}, **of}).result()
        if name == "sqlServer":
            # Nobody shows the server to anybody, and whom it approves at once asks all the same.
            listed = {"location": REGION, "properties": {"autoApproval": {"subscriptions": [consumer.subscription]}}}
            provider.resources.resources.begin_create_or_update_by_id(sql, listed, api_version="2023-08-01").result()
            automatic = request(subnet, resource, False, groups=[name])
            fails(HttpResponseError, "InvalidResourceReference", endpoints.begin_create_or_update, "rg-consumer", "pe-sqlServer", automatic)
        endpoint = endpoints.begin_create_or_update("rg-consumer", f"pe-{name}", body).result()
        assert state(endpoint) == "Pending"
        is_refused(endpoint, 443)
        if name == "sqlServer":
            path = f"{sql}/privateEndpointConnections"
            connection = next(iter(provider.resources.resources.get_by_id(sql, api_version="2023-08-01").properties["privateEndpointConnections"]))
            approve = {"properties": {"privateLinkServiceConnectionState": {"status": "Approved", "description": "yes"}}}
            provider.resources.resources.begin_create_or_update_by_id(f"{path}/{connection['name']}", approve, api_version="2023-08-01").result()
        else:
            sides = provider.storage.private_endpoint_connections
            connection = next(c for c in sides.list("rg-provider", "accta") if c.private_endpoint.id == endpoint.id)
            approve = {"properties": {"privateLinkServiceConnectionState": {"status": "Approved", "description": "yes"}}}
            sides.put("rg-provider", "accta", connection.name, approve)
        assert state(endpoints.get("rg-consumer", f"pe-{name}")) == "Approved"
        reaches(endpoint, 443, name)
    step("thirteen subresources: each approved, each reached by its own endpoint")
    fqdn = endpoints.get("rg-consumer", "pe-blob").custom_dns_configs[0].fqdn
    assert fqdn == "accta.blob.core.windows.net", fqdn
    provider.storage.storage_accounts.delete("rg-provider", "accta")
    endpoint = endpoints.get("rg-consumer", "pe-blob")
    assert state(endpoint) == "Disconnected"
    assert knock("10.1.9.4", 443) == "ConnectionRefusedError"
    for name in names + ["sqlServer"]:
        endpoints.begin_delete("rg-consumer", f"pe-{name}").result()
    provider.resources.resources.begin_delete_by_id(sql, api_version="2023-08-01").result()


def members(provider, consumer, subnet):
    """A type with two members: two addresses, two names each."""
    vnet = provider.id("rg-provider", "Microsoft.Network/virtualNetworks", "vnet1")
    member = lambda index, name: {
        "subresource": "amlworkspace",
        "member": name,
        "fqdns": [f"{name}.one.internal", f"{name}.two.internal"],
        "backends": [f"10.20.1.{index}"],
        "ports": [{"protocol": "tcp", "port": 443, "backendPort": 10000}],
    }
    workspace = provider.id("rg-provider", "Microsoft.MachineLearningServices/workspaces", "ml1")
    privlink = {"vnet": vnet, "nat": ["10.20.99.22"], "targets": [member(1, "api"), member(2, "notebook")]}
    properties = {"visibility": {"subscriptions": ["*"]}, "autoApproval": {"subscriptions": [consumer.subscription]}, "privlink": privlink}
    provider.resources.resources.begin_create_or_update_by_id(workspace, {"location": REGION, "properties": properties}, api_version="2024-04-01").result()
    config = [
        {"name": f"ip-{name}", "properties": {"groupId": "amlworkspace", "memberName": name, "privateIPAddress": f"10.1.9.{last}"}}
        for name, last in [("api", 60), ("notebook", 61)]
    ]
    body = request(subnet, workspace, False, groups=["amlworkspace"], ipConfigurations=config)
    endpoint = consumer.network.private_endpoints.begin_create_or_update("rg-consumer", "pe-ml", body).result()
    names = {one.fqdn: one.ip_addresses for one in endpoint.custom_dns_configs}
    expected = {f"{name}.{part}.internal": [f"10.1.9.{last}"] for name, last in [("api", 60), ("notebook", 61)] for part in ["one", "two"]}
    assert names == expected, names
    nic = consumer.network.network_interfaces.get("rg-consumer", endpoint.network_interfaces[0].id.split("/")[-1])
    assert len(nic.ip_configurations) == 2
    assert (knock("10.1.9.60", 443), knock("10.1.9.61", 443)) == ("blob", "table")
    consumer.network.private_endpoints.begin_delete("rg-consumer", "pe-ml").result()
    step("two members: two addresses, two names each, two servers")


def limits(provider, consumer):
    """Azure's limitations of 2019, as `limits` says."""
    body = {"properties": {"addressPrefix": "10.1.20.0/24", "privateEndpointNetworkPolicies": "Enabled"}}
    subnet = consumer.network.subnets.begin_create_or_update("rg-consumer", "cvnet", "policed", body).result()
    workspace = provider.id("rg-provider", "Microsoft.MachineLearningServices/workspaces", "ml1")
    body = request(subnet, workspace, False, groups=["amlworkspace"])
    create = consumer.network.private_endpoints.begin_create_or_update
    if LIMITS == "azure-2019":
        code = "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled"
        fails(HttpResponseError, code, create, "rg-consumer", "pe-policed", body)
        step("limits = azure-2019: a subnet with network policies takes no endpoint")
    else:
        create("rg-consumer", "pe-policed", body).result()
        consumer.network.private_endpoints.begin_delete("rg-consumer", "pe-policed").result()
        step("limits = today: a subnet with network policies takes endpoints")
    fails(HttpResponseError, "InUseSubnetCannotBeDeleted", provider.network.subnets.begin_delete, "rg-provider", "vnet1", "pls")


def refusals(provider, consumer):
    nobody = Token.__new__(Token)
    nobody.token = "privlink_nobody"
    stranger = NetworkManagementClient(nobody, consumer.subscription, base_url=URL, connection_verify=CA)
    fails(ClientAuthenticationError, "InvalidAuthenticationToken", stranger.virtual_networks.get, "rg-consumer", "cvnet")
    fails(ResourceNotFoundError, "ResourceGroupNotFound", provider.network.virtual_networks.begin_create_or_update, "none", "v", {"location": REGION, "properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}})
    other = consumer_view(provider, consumer)
    absent = fails(HttpResponseError, "AuthorizationFailed", other.private_link_services.get, "rg-provider", "absent")
    assert "privateLinkServices/read" in absent.message and "rg-provider" in absent.message, absent.message
    step("refusals have Azure's codes")


def clean_up(provider, consumer):
    workspace = provider.id("rg-provider", "Microsoft.MachineLearningServices/workspaces", "ml1")
    provider.resources.resources.begin_delete_by_id(workspace, api_version="2024-04-01").result()
    provider.network.load_balancers.begin_delete("rg-provider", "lb1").result()
    for side, group in [(provider, "rg-provider"), (consumer, "rg-consumer")]:
        side.resources.resource_groups.begin_delete(group).result()
        fails(ResourceNotFoundError, "ResourceGroupNotFound", side.resources.resource_groups.get, group)
        assert list(side.network.virtual_networks.list_all()) == []
    step("groups go with all that is in them")


def main():
    provider = Side(os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"], Token(PROVIDER))
    consumer = Side(os.environ["PRIVLINK_CONSUMER_SUBSCRIPTION"], Token(CONSUMER))
    consumer.token = Token(CONSUMER)
    subnet = networks(provider, consumer)
    step("groups, VNets, subnets")
    pls = service(provider, consumer)
    step("a service behind a load balancer")
    workflow(provider, consumer, subnet, pls)
    direct(provider, consumer, subnet)
    subresources(provider, consumer, subnet)
    members(provider, consumer, subnet)
    limits(provider, consumer)
    refusals(provider, consumer)
    clean_up(provider, consumer)
    print("the SDK's way: done")


if __name__ == "__main__":
    assert ResourceExistsError
    sys.exit(main())
