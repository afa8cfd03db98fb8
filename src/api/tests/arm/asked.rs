//! What is asked for beside the object itself, and settings that only narrow or only decorate: each is honoured, refused
//! by its name, or listed as stored only.

use super::super::super::arm::ROUTES;
use super::*;

impl Served {
    /// The status and body of a request with a header.
    async fn with_header(&self, method: &str, path: &str, header: &str, body: &Value) -> (u16, String) {
        let (path, body) = (at(path), body.to_string());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{header}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = super::super::hostile::said(self, request.as_bytes()).await;
        (answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default(), answer)
    }

    /// A refusal with status 400 whose words name `what`.
    async fn refuses(&self, method: &str, path: &str, body: &str, what: &str) {
        let (status, error) = self.ask(method, &at(path), body).await;
        let message = error["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == 400 && message.contains(what), "{method} {path} {body}: {status} {error:#}");
    }
}

#[tokio::test]
async fn an_option_is_honoured_or_refused_by_its_name() {
    let served = Served::to(0);
    served.furnish().await;
    for route in ROUTES {
        let path = route.template.replace("{subscription}", "s").replace("{group}", "shop").replace("{record}", "A");
        let path = path.replace("{provider}/{type}", "Microsoft.Storage/storageAccounts").replace(['{', '}'], "");
        // An answer to HEAD has no words.
        for operation in route.operations.iter().filter(|operation| operation.method != "HEAD") {
            for option in ["$filter", "$select", "$orderby", "forceDeletionTypes", "$expand", "$top", "$skipToken"] {
                let honoured = route.honours(operation.method, option);
                let (status, error) = served.ask(operation.method, &at(&format!("{path}?{option}=2")), "").await;
                let named =
                    error["error"]["message"].as_str().is_some_and(|text| text.contains(&option.to_lowercase()));
                let refused = status == 400 && error["error"]["code"] == "InvalidParameter" && named;
                // `2` is nothing that could be expanded.
                assert_eq!(
                    refused,
                    !honoured || option == "$expand",
                    "{} {path} {option}: {status} {error}",
                    operation.method
                );
            }
        }
    }
    for (path, what) in [
        ("N/privateEndpoints?$top=0", "$top"),
        ("N/privateEndpoints?$top=many", "$top"),
        ("N/privateEndpoints?$top=1&$TOP=2", "$top"),
        ("N/privateEndpoints?$expand=subnet", "subnet"),
        ("N/privateEndpoints/none?$expand=networkInterfaces,subnet", "subnet"),
    ] {
        served.refuses("GET", path, "", what).await;
    }
    assert_eq!(served.get("N/privateEndpoints?$top=&$expand=").await.0, 200, "an empty option says nothing");
    served.stop().await;
}

#[tokio::test]
async fn the_next_page_is_asked_for_as_the_first_was() {
    let served = Served::to(0);
    served.furnish().await;
    served.made("N/privateDnsZones/example.internal", json!({ "location": "global" })).await;
    for name in ["a.x", "b.x", "c.x", "d.y"] {
        let record = json!({ "properties": { "ttl": 60, "aRecords": [{ "ipv4Address": "10.1.2.3" }] } });
        served.made(&format!("N/privateDnsZones/example.internal/A/{name}"), record).await;
    }
    let mut next = at("N/privateDnsZones/example.internal/A?$top=1&$recordsetnamesuffix=x");
    let mut names = Vec::new();
    while !next.is_empty() {
        let (status, page) = served.ask("GET", &next, "").await;
        assert_eq!(status, 200, "{page:#}");
        names.extend(page["value"].as_array().unwrap().iter().map(|one| one["name"].clone()));
        let link = page["nextLink"].as_str().unwrap_or_default();
        next = link.split_once("localhost").map(|(_, path)| path.to_owned()).unwrap_or_default();
    }
    assert_eq!(names, ["a.x", "b.x", "c.x"]);
    for name in ["one", "two"] {
        served
            .made(&format!("N/privateEndpoints/{name}"), endpoint(MANUAL, &format!("{N}/privateLinkServices/pls1")))
            .await;
    }
    let (_, page) = served.get("N/privateEndpoints?$top=1&$expand=networkInterfaces").await;
    let next = page["nextLink"].as_str().and_then(|link| link.split_once("localhost")).unwrap().1.to_owned();
    let (_, page) = served.ask("GET", &next, "").await;
    assert!(page["value"][0]["properties"]["networkInterfaces"][0]["properties"].is_object(), "{page:#}");
    served.stop().await;
}

#[tokio::test]
async fn an_empty_condition_is_none() {
    let served = Served::to(0);
    served.furnish().await;
    for header in ["If-Match:", "If-None-Match:", "If-Match: ", "If-None-Match: \r\nIf-Match:"] {
        let (status, answer) = served.with_header("PUT", "N/loadBalancers/lb1", header, &balancer(10000)).await;
        assert_eq!(status, 200, "{header}: {answer}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_patch_changes_what_azures_changes_and_refuses_the_rest_by_name() {
    let served = Served::to(0);
    served.furnish().await;
    served.made("N/privateEndpoints/pe1", endpoint(MANUAL, &format!("{N}/privateLinkServices/pls1"))).await;
    served.made("N/privateDnsZones/example.internal", json!({ "location": "global" })).await;
    for path in [
        "/subscriptions/s/resourceGroups/shop",
        "N/virtualNetworks/vnet1",
        "N/loadBalancers/lb1",
        "N/privateLinkServices/pls1",
        "N/privateEndpoints/pe1",
        "N/privateDnsZones/example.internal",
    ] {
        let (_, before) = served.get(path).await;
        served.refuses("PATCH", path, r#"{"location":"elsewhere"}"#, "location").await;
        served.refuses("PATCH", path, r#"{"tags":{"a":"b"},"properties":{"other":true}}"#, "properties.other").await;
        assert_eq!(served.get(path).await.1, before, "{path}: nothing of it was done");
        // The whole object with other tags changes the tags.
        let mut whole = before.clone();
        whole["tags"] = json!({ "a": "b" });
        let (status, after) = served.ask("PATCH", &at(path), &whole.to_string()).await;
        assert_eq!(
            (status, &after["tags"], &after["properties"]),
            (200, &whole["tags"], &before["properties"]),
            "{path}"
        );
    }
    served
        .refuses("PATCH", "N/loadBalancers/lb1", r#"{"properties":{"loadBalancingRules":[]}}"#, "loadBalancingRules")
        .await;
    let account = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/accta";
    let body = json!({ "location": "westeurope", "sku": { "name": "Standard_LRS" }, "kind": "StorageV2" });
    served.made(account, body).await;
    let patch = json!({ "tags": { "a": "b" }, "sku": { "name": "Standard_GRS" }, "properties": {
        "accessTier": "Cool", "autoApproval": { "subscriptions": ["x"] }, "visibility": { "subscriptions": ["x"] } } });
    let (status, after) = served.ask("PATCH", &at(account), &patch.to_string()).await;
    assert_eq!((status, &after["sku"]["name"], &after["kind"]), (200, &json!("Standard_GRS"), &json!("StorageV2")));
    assert_eq!((&after["properties"]["accessTier"], &after["tags"]), (&json!("Cool"), &json!({ "a": "b" })));
    assert_eq!(after["properties"]["autoApproval"]["subscriptions"], json!(["x"]));
    served.refuses("PATCH", account, r#"{"location":"elsewhere"}"#, "location").await;
    served.refuses("PATCH", account, r#"{"properties":{"adminPassword":"hidden"}}"#, "adminPassword").await;
    served.stop().await;
}

#[tokio::test]
async fn an_endpoint_keeps_its_address_and_says_so() {
    let served = Served::to(0);
    served.furnish().await;
    let mut body = endpoint(MANUAL, &format!("{N}/privateLinkServices/pls1"));
    let config = |member: &str, ip: &str| json!([{ "name": "ip", "properties": { "groupId": "", "memberName": member, "privateIPAddress": ip } }]);
    served.made("N/privateEndpoints/auto", body.clone()).await;
    body["properties"]["ipConfigurations"] = config("", "10.1.1.50");
    served.made("N/privateEndpoints/fixed", body.clone()).await;
    for name in ["auto", "fixed"] {
        let path = format!("N/privateEndpoints/{name}");
        let (_, before) = served.get(&path).await;
        for member in ["", "default", "other"] {
            body["properties"]["ipConfigurations"] = config(member, "10.1.1.51");
            let (status, error) = served.put(&path, body.clone()).await;
            assert!(matches!(status, 400 | 409), "{name} `{member}`: {status} {error:#}");
        }
        assert_eq!(served.get(&path).await.1, before);
    }
    served.stop().await;
}

#[tokio::test]
async fn an_empty_record_set_is_kept_and_answers_nobody() {
    let served = Served::to(0);
    served.furnish().await;
    let zone = "N/privateDnsZones/example.internal";
    served.made(zone, json!({ "location": "global" })).await;
    for (kind, field) in [("A", "aRecords"), ("TXT", "txtRecords"), ("CNAME", "cnameRecord")] {
        let path = format!("{zone}/{kind}/empty-{}", kind.to_lowercase());
        let (status, made) = served.put(&path, json!({ "properties": { "ttl": 60, "metadata": { "a": "b" } } })).await;
        assert_eq!((status, &made["properties"]["ttl"]), (201, &json!(60)), "{made:#}");
        let expected = if kind == "CNAME" { Value::Null } else { json!([]) };
        assert_eq!(made["properties"][field], expected, "{made:#}");
        assert_eq!(served.get(&path).await, (200, made.clone()));
        assert_eq!(served.put(&path, made.clone()).await, (200, made));
    }
    let filled = json!({ "properties": { "ttl": 60, "aRecords": [{ "ipv4Address": "10.1.2.3" }] } });
    served.made(&format!("{zone}/A/empty-a"), filled).await;
    let emptied = served.made(&format!("{zone}/A/empty-a"), json!({ "properties": { "aRecords": [] } })).await;
    assert_eq!(emptied["properties"]["aRecords"], json!([]));
    served
        .refuses(
            "PUT",
            &format!("{zone}/A/empty-a"),
            r#"{"properties":{"txtRecords":[{"value":["x"]}]}}"#,
            "txtRecords",
        )
        .await;
    served.stop().await;
}

#[tokio::test]
async fn probes_and_distribution_of_a_balancer_are_checks_and_balance_of_its_services() {
    let served = Served::to(0);
    served.furnish().await;
    let lb = format!("{N}/loadBalancers/lb1");
    let mut body = balancer(10000);
    body["properties"]["probes"] = json!([{ "name": "up", "properties": {
        "protocol": "Http", "port": 8080, "requestPath": "/healthz", "intervalInSeconds": 5, "numberOfProbes": 2 } }]);
    let rule = &mut body["properties"]["loadBalancingRules"][0]["properties"];
    rule["probe"] = json!({ "id": format!("{lb}/probes/up") });
    rule["loadDistribution"] = json!("SourceIP");
    let shown = served.made("N/loadBalancers/lb1", body.clone()).await;
    assert_eq!(shown["properties"]["probes"][0]["properties"]["requestPath"], "/healthz");
    assert_eq!(shown["properties"]["loadBalancingRules"][0]["properties"]["loadDistribution"], "SourceIP");
    let (_, service) = served.get("N/privateLinkServices/pls1").await;
    let target = &service["properties"]["privlink"]["targets"][0];
    let health = json!({ "port": 8080, "intervalInSeconds": 5, "timeoutInSeconds": 5, "fall": 2, "rise": 1, "requestPath": "/healthz" });
    assert_eq!((&target["health"], &target["balance"]), (&health, &json!("source")));
    let resource = |served: &Served| {
        let key = crate::model::Key::of("s", "shop", "pls1");
        served.state.control.view().state.model.resources.get(&key).unwrap().targets[0].health.clone()
    };
    assert_eq!(resource(&served).unwrap().path.as_deref(), Some("/healthz"));
    for (change, what) in [
        (json!({ "protocol": "Https", "port": 443, "requestPath": "/" }), "HTTPS"),
        (json!({ "protocol": "Http", "port": 80 }), "requestPath"),
        (json!({ "protocol": "Http", "port": 80, "requestPath": "/a\r\nX: y" }), "requestPath"),
        (json!({ "protocol": "Tcp", "port": 0 }), "port"),
    ] {
        let mut wrong = body.clone();
        wrong["properties"]["probes"][0]["properties"] = change;
        served.refuses("PUT", "N/loadBalancers/lb1", &wrong.to_string(), what).await;
    }
    let mut none = body.clone();
    none["properties"]["probes"] = json!([]);
    served.refuses("PUT", "N/loadBalancers/lb1", &none.to_string(), "probe").await;
    served.made("N/loadBalancers/lb1", balancer(10000)).await;
    assert_eq!(resource(&served), None, "a rule without a probe checks nothing any more");
    served.stop().await;
}

#[tokio::test]
async fn settings_without_effect_are_kept_and_listed_and_those_that_narrow_are_refused() {
    let served = Served::to(0);
    served.furnish().await;
    served.made("N/privateEndpoints/pe1", endpoint(MANUAL, &format!("{N}/privateLinkServices/pls1"))).await;
    let peer = json!({ "properties": { "remoteVirtualNetwork": { "id": format!("{N}/virtualNetworks/vnet2") } } });
    let space = json!({ "addressPrefixes": ["10.2.0.0/16"] });
    served
        .made("N/virtualNetworks/vnet2", json!({ "location": "westeurope", "properties": { "addressSpace": space } }))
        .await;
    served.made("N/virtualNetworks/vnet1/virtualNetworkPeerings/to2", peer).await;
    let id = json!({ "id": "/subscriptions/s/x" });
    for (path, at, value) in [
        ("N/virtualNetworks/vnet1", "/properties/privateEndpointVNetPolicies", json!("Basic")),
        ("N/virtualNetworks/vnet1", "/properties/flowTimeoutInMinutes", json!(10)),
        ("N/virtualNetworks/vnet1/subnets/pe", "/properties/natGateway", id.clone()),
        ("N/virtualNetworks/vnet1/virtualNetworkPeerings/to2", "/properties/allowForwardedTraffic", json!(true)),
        ("N/loadBalancers/lb1", "/properties/loadBalancingRules/0/properties/enableTcpReset", json!(true)),
        ("N/loadBalancers/lb1", "/sku/name", json!("Basic")),
        ("N/privateEndpoints/pe1", "/properties/applicationSecurityGroups", json!([id.clone()])),
        ("N/privateEndpoints/pe1", "/properties/ipVersionType", json!("DualStack")),
    ] {
        let (_, mut body) = served.get(path).await;
        let (front, name) = at.rsplit_once('/').unwrap();
        let mut place = &mut body;
        for part in front.split('/').skip(1) {
            place = match part.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[part],
            };
        }
        place[name] = value.clone();
        let shown = served.made(path, body).await;
        assert_eq!(shown.pointer(at), Some(&value), "{path} {at}: {shown:#}");
        let listed = shown["properties"]["privlink"]["storedOnly"].as_array().cloned().unwrap_or_default();
        assert!(listed.iter().any(|one| one.as_str().unwrap().contains(name)), "{path} {at}: {listed:?}");
        assert_eq!(served.get(path).await.1, shown, "{path}");
        assert_eq!(served.put(path, shown.clone()).await, (200, shown), "{path}");
    }
    let (_, whole) = served.get("N/virtualNetworks/vnet1").await;
    let listed = whole["properties"]["privlink"]["storedOnly"].to_string();
    for name in
        ["subnets.pe.natGateway", "virtualNetworkPeerings.to2.allowForwardedTraffic", "privateEndpointVNetPolicies"]
    {
        assert!(listed.contains(name), "{name}: {listed}");
    }
    for (path, body, what) in [
        (
            "N/virtualNetworks/vnet1/subnets/pe",
            json!({ "properties": { "serviceEndpointPolicies": [id] } }),
            "serviceEndpointPolicies",
        ),
        (
            "N/privateLinkServices/pls1",
            json!({ "location": "westeurope", "properties": { "accessMode": "Restricted" } }),
            "accessMode",
        ),
        (
            "N/virtualNetworks/vnet1",
            json!({ "properties": { "encryption": { "enabled": true, "enforcement": "DropUnencrypted" } } }),
            "enforcement",
        ),
    ] {
        served.refuses("PUT", path, &body.to_string(), what).await;
    }
    served.stop().await;
}
