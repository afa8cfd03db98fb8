"""What things are called, who may ask for them by that name, and what goes when they go: by the unmodified SDK.

Started by tests/netns/sdk.rs beside workflow.py, whose clients it uses.
"""

import os
import sys

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ResourceNotModifiedError

from workflow import CONSUMER, PROVIDER, REGION, Side, Token, addresses, fails, knock, request, state, step

API = "2024-05-01"
ACCOUNTS = "Microsoft.Storage/storageAccounts"


def network(side, group, name, space, subnets):
    side.resources.resource_groups.create_or_update(group, {"location": "West Europe"})
    parts = [{"name": part, "properties": properties} for part, properties in subnets.items()]
    body = {"location": "West Europe", "properties": {"addressSpace": {"addressPrefixes": [space]}, "subnets": parts}}
    return side.network.virtual_networks.begin_create_or_update(group, name, body).result()


def furnish(provider, consumer):
    served = {"addressPrefix": "10.20.99.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}
    vnet = network(provider, "rg-provider", "vnet1", "10.20.0.0/16", {"pls": served})
    assert vnet.location == REGION, vnet.location
    spoke = network(consumer, "rg-consumer", "cvnet", "10.1.0.0/16", {"pe": {"addressPrefix": "10.1.9.0/24", "privlink": {"dedicated": True}}})
    body = {
        "location": "West Europe",
        "properties": {
            "destinationIPAddress": "10.20.0.2",
            "visibility": {"subscriptions": ["*"]},
            "ipConfigurations": [{"name": "nat", "properties": {"subnet": {"id": vnet.subnets[0].id}}}],
        },
    }
    service = provider.network.private_link_services.begin_create_or_update("rg-provider", "pls1", body).result()
    target = {"subresource": "blob", "backends": ["10.20.1.1"], "ports": [{"protocol": "tcp", "port": 443, "backendPort": 10000}]}
    properties = {"autoApproval": {"subscriptions": [consumer.subscription]}, "privlink": {"vnet": vnet.id, "nat": ["10.20.99.20"], "targets": [target]}}
    body = {"location": REGION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": properties}
    account = provider.storage.storage_accounts.begin_create("rg-provider", "accta", body).result()
    return spoke.subnets[0], service, account


def names(provider, consumer, subnet, service, account):
    endpoints = consumer.network.private_endpoints
    assert service.alias.endswith(".westeurope.azure.privatelinkservice"), service.alias
    for number, alias in enumerate([service.alias, service.alias.upper(), service.alias.replace(".azure.privatelinkservice", ".privlink")]):
        made = endpoints.begin_create_or_update("rg-consumer", f"pe-alias{number}", request(subnet, alias, True)).result()
        bound = made.manual_private_link_service_connections[0]
        assert state(made) == "Pending" and bound.private_link_service_id == service.id, alias
        endpoints.begin_delete("rg-consumer", made.name).result()
    step("an alias is Azure's, and the older form is understood")
    required = {one.group_id: one.required_members for one in provider.storage.private_link_resources.list_by_storage_account("rg-provider", "accta").value}
    assert required == {"blob": ["blob"]}, required
    for number, member in enumerate(["blob", "", "default"]):
        config = [{"name": "ip1", "properties": {"privateIPAddress": f"10.1.9.{50 + number}", "groupId": "Blob", "memberName": member}}]
        body = request(subnet, account.id, True, groups=["BLOB"], ipConfigurations=config)
        made = endpoints.begin_create_or_update("rg-consumer", f"pe-member{number}", body).result()
        assert made.manual_private_link_service_connections[0].group_ids == ["blob"] and addresses(made) == [f"10.1.9.{50 + number}"]
        nic = consumer.network.network_interfaces.get("rg-consumer", made.network_interfaces[0].id.split("/")[-1])
        shown = nic.ip_configurations[0]
        assert shown.private_link_connection_properties.required_member_name == "blob", shown
        assert endpoints.begin_create_or_update("rg-consumer", made.name, made).result().etag == made.etag, member
        endpoints.begin_delete("rg-consumer", made.name).result()
    step("a member is called what privateLinkResources calls it, and nothing and `default` are understood")


def requests_by_id(provider, consumer, subnet, account):
    """The account shows itself to nobody and approves this subscription at once: who knows its ID asks, and waits."""
    endpoints = consumer.network.private_endpoints
    fails(HttpResponseError, "InvalidResourceReference", endpoints.begin_create_or_update, "rg-consumer", "pe-auto", request(subnet, account.id, False, groups=["blob"]))
    made = []
    for number in range(100):
        try:
            one = endpoints.begin_create_or_update("rg-consumer", f"pe-many{number}", request(subnet, account.id, True, groups=["blob"])).result()
        except HttpResponseError as error:
            assert error.error.code == "TooManyPendingRequests" and account.name in error.message, error
            break
        assert state(one) == "Pending"
        assert knock(addresses(one)[0], 443) == "ConnectionRefusedError"
        made.append(one)
    assert 13 <= len(made) < 100, len(made)
    sides = provider.storage.private_endpoint_connections
    connection = next(one for one in sides.list("rg-provider", "accta") if one.private_endpoint.id == made[0].id)
    approve = {"properties": {"privateLinkServiceConnectionState": {"status": "Approved", "description": "yes"}}}
    sides.put("rg-provider", "accta", connection.name, approve)
    assert knock(addresses(made[0])[0], 443) == "blob"
    for one in made:
        endpoints.begin_delete("rg-consumer", one.name).result()
    of = {"location": REGION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    provider.storage.storage_accounts.begin_create("rg-provider", "accta", {"properties": {"visibility": {"subscriptions": []}}, **of}).result()
    absent = account.id.replace("accta", "acctb")
    said = [
        fails(HttpResponseError, "InvalidResourceReference", endpoints.begin_create_or_update, "rg-consumer", "pe-none", request(subnet, id, True, groups=["blob"]))
        for id in [account.id, absent]
    ]
    assert said[0].message.replace("accta", "acctb") == said[1].message, said
    step("who knows an ID asks, within bounds; what its owner closed is as if it were not")


def looks(provider, consumer, service, account):
    for side, id in [(provider, service.id), (provider, account.id), (consumer, consumer.id("rg-consumer", "Microsoft.Network/virtualNetworks", "cvnet"))]:
        assert side.resources.resources.check_existence_by_id(id, api_version=API)
        assert not side.resources.resources.check_existence_by_id(f"{id}x", api_version=API)
    assert provider.resources.resources.check_existence("rg-provider", "Microsoft.Network", "", "privateLinkServices", "pls1", api_version=API)
    assert not provider.resources.resources.check_existence("rg-provider", "Microsoft.Network", "", "privateLinkServices", "none", api_version=API)
    assert provider.resources.resource_groups.check_existence("rg-provider")
    tag = provider.network.private_link_services.get("rg-provider", "pls1").etag
    try:
        provider.network.private_link_services.get("rg-provider", "pls1", headers={"If-None-Match": tag})
        raise AssertionError("it is what the client has")
    except ResourceNotModifiedError as unchanged:
        assert unchanged.status_code == 304
    large = {"location": REGION, "tags": {"a": "x" * (8 << 20)}}
    try:
        provider.resources.resource_groups.create_or_update("rg-large", large)
        raise AssertionError("it is too large")
    except HttpResponseError as refused:
        assert refused.status_code == 413 and refused.error.code == "RequestContentTooLarge", refused
    step("what is there is told so, what is known is not sent again, what is too large is answered")


def interfaces(consumer, subnet, service):
    made = consumer.network.private_endpoints.begin_create_or_update("rg-consumer", "pe-tags", request(subnet, service.id, True)).result()
    name = made.network_interfaces[0].id.split("/")[-1]
    tagged = consumer.network.network_interfaces.update_tags("rg-consumer", name, {"tags": {"owner": "net"}})
    assert tagged.tags == {"owner": "net"}
    consumer.network.private_endpoints.begin_create_or_update("rg-consumer", "pe-tags", made).result()
    assert consumer.network.network_interfaces.get("rg-consumer", name).tags == {"owner": "net"}
    consumer.network.private_endpoints.begin_delete("rg-consumer", "pe-tags").result()
    step("an interface keeps its tags")


def refusals(consumer, subnet, service):
    config = [{"name": "ip1", "properties": {"privateIPAddress": "10.1.77.7", "memberName": ""}}]
    body = request(subnet, service.id, True, ipConfigurations=config)
    refused = fails(HttpResponseError, "PrivateIPAddressNotInSubnet", consumer.network.private_endpoints.begin_create_or_update, "rg-consumer", "pe-bad", body)
    place = "properties.ipConfigurations[0].properties.privateIPAddress"
    assert "10.1.77.7 is outside" in refused.error.message and place in refused.error.message, refused.error.message
    assert refused.error.details[0].target == place, refused.error.details[0]
    for word in ["addresses[", "`ip`"]:
        assert word not in str(refused), refused
    step("a refusal says what is wrong of which property")


def groups(consumer):
    """A group with all kinds of things that refer to one another goes whole, and the other side of its peering stays."""
    client = consumer.network
    parts = {"pls": {"addressPrefix": "10.31.1.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}, "pe": {"addressPrefix": "10.31.2.0/24"}}
    first, second = network(consumer, "rg-whole", "one", "10.31.0.0/16", parts), network(consumer, "rg-other", "two", "10.32.0.0/16", {})
    peer = lambda vnet: {"properties": {"remoteVirtualNetwork": {"id": vnet.id}, "allowVirtualNetworkAccess": True}}
    peerings = client.virtual_network_peerings
    peerings.begin_create_or_update("rg-whole", "one", "to2", peer(second)).result()
    peerings.begin_create_or_update("rg-other", "two", "to1", peer(first)).result()
    assert peerings.get("rg-other", "two", "to1").peering_state == "Connected"
    lb = consumer.id("rg-whole", "Microsoft.Network/loadBalancers", "lb1")
    rule = {"protocol": "Tcp", "frontendPort": 443, "backendPort": 7000, "frontendIPConfiguration": {"id": f"{lb}/frontendIPConfigurations/fe"}, "backendAddressPool": {"id": f"{lb}/backendAddressPools/be"}}
    pool = [{"name": "b1", "properties": {"ipAddress": "10.31.0.9", "virtualNetwork": {"id": first.id}}}]
    properties = {
        "frontendIPConfigurations": [{"name": "fe", "properties": {"subnet": {"id": f"{first.id}/subnets/pls"}}}],
        "backendAddressPools": [{"name": "be", "properties": {"loadBalancerBackendAddresses": pool}}],
        "loadBalancingRules": [{"name": "r", "properties": rule}],
    }
    client.load_balancers.begin_create_or_update("rg-whole", "lb1", {"location": REGION, "properties": properties}).result()
    properties = {
        "loadBalancerFrontendIpConfigurations": [{"id": f"{lb}/frontendIPConfigurations/fe"}],
        "ipConfigurations": [{"name": "nat", "properties": {"subnet": {"id": f"{first.id}/subnets/pls"}}}],
    }
    service = client.private_link_services.begin_create_or_update("rg-whole", "pls", {"location": REGION, "properties": properties}).result()
    inner = client.subnets.get("rg-whole", "one", "pe")
    client.private_endpoints.begin_create_or_update("rg-whole", "pe", request(inner, service.id, True)).result()
    # What refers to it from outside holds it back.
    client.private_endpoints.begin_create_or_update("rg-other", "pe", request(inner, service.id, True)).result()
    held = "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections"
    fails(HttpResponseError, held, consumer.resources.resource_groups.begin_delete, "rg-whole")
    client.private_endpoints.begin_delete("rg-other", "pe").result()
    consumer.resources.resource_groups.begin_delete("rg-whole").result()
    fails(ResourceNotFoundError, "ResourceGroupNotFound", consumer.resources.resource_groups.get, "rg-whole")
    assert peerings.get("rg-other", "two", "to1").peering_state == "Disconnected"
    # A new VNet of that name is another one, until both sides say so.
    first = network(consumer, "rg-whole", "one", "10.31.0.0/16", parts)
    peerings.begin_create_or_update("rg-whole", "one", "to2", peer(second)).result()
    left = peerings.get("rg-other", "two", "to1")
    assert left.peering_state == "Disconnected" and peerings.get("rg-whole", "one", "to2").peering_state == "Initiated"
    assert peerings.begin_create_or_update("rg-other", "two", "to1", left).result().peering_state == "Disconnected"
    whole = client.virtual_networks.get("rg-other", "two")
    assert client.virtual_networks.begin_create_or_update("rg-other", "two", whole).result().etag == whole.etag
    peerings.begin_delete("rg-other", "two", "to1").result()
    peerings.begin_create_or_update("rg-other", "two", "to1", peer(first)).result()
    assert peerings.get("rg-whole", "one", "to2").peering_state == "Connected"
    client.virtual_networks.begin_delete("rg-whole", "one").result()
    assert peerings.get("rg-other", "two", "to1").peering_state == "Disconnected"
    for group in ["rg-whole", "rg-other"]:
        consumer.resources.resource_groups.begin_delete(group).result()
    step("a group goes whole, and a peering that lost its other side waits for both to make it anew")


def main():
    provider = Side(os.environ["PRIVLINK_PROVIDER_SUBSCRIPTION"], Token(PROVIDER))
    consumer = Side(os.environ["PRIVLINK_CONSUMER_SUBSCRIPTION"], Token(CONSUMER))
    subnet, service, account = furnish(provider, consumer)
    names(provider, consumer, subnet, service, account)
    requests_by_id(provider, consumer, subnet, account)
    looks(provider, consumer, service, account)
    interfaces(consumer, subnet, service)
    refusals(consumer, subnet, service)
    groups(consumer)
    print("names and what goes with them: done")


if __name__ == "__main__":
    sys.exit(main())
