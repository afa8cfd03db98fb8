//! Azure's paths: one client's whole way, and what each must be told who does it wrong.

use serde_json::json;

use super::*;

mod asked;
mod forms;
mod parts;
mod repeated;

const N: &str = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network";

fn at(path: &str) -> String {
    let path = path.replace("N/", &format!("{N}/"));
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}api-version=2026-03-01")
}

impl Served {
    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", &at(path), "").await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("PUT", &at(path), &body.to_string()).await
    }

    /// The status of a DELETE, which says nothing unless it is refused.
    async fn gone(&self, path: &str) -> u16 {
        exchange(&self.socket, "DELETE", &at(path), String::new()).await.0
    }

    async fn made(&self, path: &str, body: Value) -> Value {
        let (status, shown) = self.put(path, body).await;
        assert!(matches!(status, 200 | 201), "{path}: {status} {shown:#}");
        shown
    }

    /// A provider's VNet and a consumer's, a load balancer and the service behind it.
    async fn furnish(&self) -> Value {
        self.made("/subscriptions/s/resourcegroups/shop", json!({ "location": "westeurope" })).await;
        let pls = json!({ "name": "pls", "properties": { "addressPrefix": "10.1.2.0/24", "privateLinkServiceNetworkPolicies": "Disabled" } });
        let pe = json!({ "name": "pe", "properties": { "addressPrefix": "10.1.1.0/24" } });
        let space = json!({ "addressPrefixes": ["10.1.0.0/16"] });
        let vnet = json!({ "location": "westeurope", "properties": { "addressSpace": space, "subnets": [pe, pls] } });
        self.made("N/virtualNetworks/vnet1", vnet).await;
        self.made("N/loadBalancers/lb1", balancer(10000)).await;
        self.made("N/privateLinkServices/pls1", service()).await
    }
}

fn balancer(backend_port: u16) -> Value {
    let lb = format!("{N}/loadBalancers/lb1");
    json!({ "location": "westeurope", "sku": { "name": "Standard" }, "properties": {
        "frontendIPConfigurations": [{ "name": "fe", "properties": { "privateIPAddress": "10.1.2.10" } }],
        "backendAddressPools": [{ "name": "be", "properties": { "loadBalancerBackendAddresses": [
            { "name": "b1", "properties": { "ipAddress": "10.1.2.20", "virtualNetwork": { "id": format!("{N}/virtualNetworks/vnet1") } } },
        ] } }],
        "loadBalancingRules": [{ "name": "https", "properties": {
            "protocol": "Tcp", "frontendPort": 443, "backendPort": backend_port,
            "frontendIPConfiguration": { "id": format!("{lb}/frontendIPConfigurations/fe") },
            "backendAddressPool": { "id": format!("{lb}/backendAddressPools/be") },
        } }],
    } })
}

fn service() -> Value {
    json!({ "location": "westeurope", "properties": {
        "autoApproval": { "subscriptions": ["auto"] },
        "visibility": { "subscriptions": ["*"] },
        "loadBalancerFrontendIpConfigurations": [{ "id": format!("{N}/loadBalancers/lb1/frontendIPConfigurations/fe") }],
        "ipConfigurations": [{ "name": "nat", "properties": { "subnet": { "id": format!("{N}/virtualNetworks/vnet1/subnets/pls") } } }],
        "enableProxyProtocol": true,
        "fqdns": ["api.contoso.internal"],
    } })
}

fn endpoint(list: &str, service: &str) -> Value {
    json!({ "location": "westeurope", "tags": { "team": "shop" }, "properties": {
        "subnet": { "id": format!("{N}/virtualNetworks/vnet1/subnets/pe") },
        list: [{ "name": "c1", "properties": { "privateLinkServiceId": service, "requestMessage": "please" } }],
    } })
}

const MANUAL: &str = "manualPrivateLinkServiceConnections";

#[tokio::test]
async fn a_client_of_azure_goes_the_whole_way() {
    let served = Served::to(0);
    let shown = served.furnish().await;
    let properties = &shown["properties"];
    assert_eq!(properties["privlink"]["nat"], json!(["10.1.2.4"]));
    assert_eq!(properties["privlink"]["targets"][0]["ports"][0]["backendPort"], 10000);
    assert_eq!(properties["privlink"]["storedOnly"].as_array().map(Vec::len), Some(1));
    let (_, status) = served.ask("GET", "/v1/status", "").await;
    let conditions = status["items"][0]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|one| one["code"] == "StoredOnly"), "{conditions:?}");
    let alias = properties["alias"].as_str().unwrap().to_owned();

    let asked = served.made("N/privateEndpoints/pe1", endpoint(MANUAL, &alias)).await;
    let state =
        |shown: &Value| shown["properties"][MANUAL][0]["properties"]["privateLinkServiceConnectionState"].clone();
    assert_eq!(state(&asked), json!({ "status": "Pending", "description": "please", "actionsRequired": "None" }));
    assert_eq!(asked["tags"], json!({ "team": "shop" }));
    assert_eq!(
        asked["properties"]["customDnsConfigs"],
        json!([{ "fqdn": "api.contoso.internal", "ipAddresses": ["10.1.1.4"] }])
    );

    // The same request again changes nothing.
    let (status, again) = served.put("N/privateEndpoints/pe1", endpoint(MANUAL, &alias)).await;
    assert_eq!((status, &again), (200, &asked));
    let (status, read) = served.get(&asked["id"].as_str().unwrap().to_uppercase()).await;
    assert_eq!((status, &read), (200, &asked));

    let (_, list) = served.get("N/privateLinkServices/pls1/privateEndpointConnections").await;
    let connection = list["value"][0].clone();
    assert_eq!(connection["properties"]["privateEndpoint"]["id"], asked["id"]);
    let path = connection["id"].as_str().unwrap();
    let approve = json!({ "properties": { "privateLinkServiceConnectionState": { "status": "Approved", "description": "welcome" } } });
    let (status, approved) = served.put(path, approve).await;
    assert_eq!(
        (status, &approved["properties"]["privateLinkServiceConnectionState"]["status"]),
        (200, &json!("Approved"))
    );
    let (_, read) = served.get("N/privateEndpoints/pe1").await;
    assert_eq!(state(&read)["description"], "welcome");

    // The port mapping moves with the load balancer.
    served.made("N/loadBalancers/lb1", balancer(20000)).await;
    let (_, moved) = served.get("N/privateLinkServices/pls1").await;
    assert_eq!(moved["properties"]["privlink"]["targets"][0]["ports"][0]["backendPort"], 20000);
    assert_eq!(moved["properties"]["privlink"]["nat"], json!(["10.1.2.4"]));

    // The interface is there as long as its endpoint, and no longer.
    let nic = asked["properties"]["networkInterfaces"][0]["id"].as_str().unwrap();
    let (status, interface) = served.get(nic).await;
    assert_eq!(
        (status, &interface["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]),
        (200, &json!("10.1.1.4"))
    );
    assert_eq!(served.gone(nic).await, 400);
    let (_, shown) = served.ask("GET", "/v1/nics/pe1", "").await;
    assert_eq!(
        shown["items"][0]["addresses"],
        json!([{ "group": "", "member": "", "ip": "10.1.1.4", "fqdns": ["api.contoso.internal"] }])
    );
    let (_, groups) = served.ask("GET", "/v1/groups", "").await;
    let shop = groups["items"].as_array().unwrap().iter().find(|group| group["name"] == "shop").unwrap();
    assert_eq!((&shop["declared"], &shop["objects"]), (&json!(true), &json!(4)));

    let used = [("N/privateLinkServices/pls1", 400), ("N/loadBalancers/lb1", 409), ("N/virtualNetworks/vnet1", 409)];
    for (path, expected) in used {
        assert_eq!(served.gone(path).await, expected, "{path}");
    }
    assert_eq!(served.gone("N/virtualNetworks/vnet1/subnets/pe").await, 400);
    // Removed by its owner: gone on that side, and only to be deleted on the other.
    assert_eq!((served.gone(path).await, served.gone(path).await), (200, 204));
    let (_, read) = served.get("N/privateEndpoints/pe1").await;
    assert_eq!(state(&read)["status"], "Disconnected");
    for path in
        ["N/privateLinkServices/pls1", "N/privateEndpoints/pe1", "N/loadBalancers/lb1", "N/virtualNetworks/vnet1"]
    {
        assert_eq!((served.gone(path).await, served.gone(path).await), (200, 204), "{path}");
    }
    assert_eq!(served.get(nic).await.0, 404);
    assert_eq!(served.gone("/subscriptions/s/resourceGroups/shop").await, 200);
    assert_eq!(served.get("/subscriptions/s/resourceGroups/shop").await.0, 404);
    served.stop().await;
}

#[tokio::test]
async fn parts_of_a_vnet_change_one_by_one() {
    let served = Served::to(0);
    served.furnish().await;
    let bad = json!({ "properties": { "addressPrefix": "10.1.3.0/24", "privateEndpointNetworkPolicies": "Enabled" } });
    let (status, subnet) = served.put("N/virtualNetworks/vnet1/subnets/third", bad).await;
    assert_eq!((status, &subnet["properties"]["privateEndpointNetworkPolicies"]), (201, &json!("Enabled")));
    let (_, vnet) = served.get("N/virtualNetworks/vnet1").await;
    assert_eq!(vnet["properties"]["subnets"].as_array().map(Vec::len), Some(3));
    let other =
        json!({ "location": "westeurope", "properties": { "addressSpace": { "addressPrefixes": ["10.2.0.0/16"] } } });
    served.made("N/virtualNetworks/vnet2", other).await;
    let peer =
        |to: &str| json!({ "properties": { "remoteVirtualNetwork": { "id": format!("{N}/virtualNetworks/{to}") } } });
    let (status, first) = served.put("N/virtualNetworks/vnet1/virtualNetworkPeerings/to2", peer("vnet2")).await;
    assert_eq!((status, &first["properties"]["peeringState"]), (201, &json!("Initiated")));
    served.made("N/virtualNetworks/vnet2/virtualNetworkPeerings/to1", peer("vnet1")).await;
    let (_, first) = served.get("N/virtualNetworks/vnet1/virtualNetworkPeerings/to2").await;
    assert_eq!(first["properties"]["peeringState"], "Connected");
    assert_eq!(served.put("N/virtualNetworks/vnet1/virtualNetworkPeerings/no", peer("none")).await.0, 400);
    // A VNet without a word on its parts keeps them.
    let bare =
        json!({ "location": "westeurope", "properties": { "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] } } });
    let kept = served.made("N/virtualNetworks/vnet1", bare).await;
    assert_eq!(kept["properties"]["subnets"].as_array().map(Vec::len), Some(3));
    assert_eq!(kept["properties"]["virtualNetworkPeerings"][0]["name"], "to2");
    for part in ["virtualNetworkPeerings/to2", "subnets/third"] {
        let path = format!("N/virtualNetworks/vnet1/{part}");
        assert_eq!((served.gone(&path).await, served.gone(&path).await), (200, 204), "{part}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_resource_of_any_type_has_one_shape() {
    let served = Served::to(0);
    served.furnish().await;
    let account = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/accta";
    let plain = json!({ "location": "westeurope", "sku": { "name": "Standard_LRS" }, "kind": "StorageV2" });
    let (status, shown) = served.put(account, plain.clone()).await;
    assert_eq!((status, &shown["kind"], &shown["sku"]), (200, &plain["kind"], &plain["sku"]));
    let (_, parts) = served.get(&format!("{account}/privateLinkResources")).await;
    let blob = parts["value"].as_array().unwrap().iter().find(|part| part["name"] == "blob").unwrap();
    assert_eq!(blob["properties"]["requiredZoneNames"], json!(["privatelink.blob.core.windows.net"]));
    let mut body = endpoint("privateLinkServiceConnections", account);
    body["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"] = json!(["blob"]);
    let made = served.made("N/privateEndpoints/blob", body).await;
    assert_eq!(made["properties"]["customDnsConfigs"][0]["fqdn"], "accta.blob.core.windows.net");
    let state =
        &made["properties"]["privateLinkServiceConnections"][0]["properties"]["privateLinkServiceConnectionState"];
    assert_eq!((&state["status"], &state["description"]), (&json!("Approved"), &json!("Auto-approved")));
    let (_, list) = served.get(&format!("{account}/privateEndpointConnections")).await;
    assert_eq!(list["value"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["value"][0]["type"], "Microsoft.Storage/storageAccounts/privateEndpointConnections");
    let unknown = account.replace("storageAccounts", "storageAcounts");
    let (status, error) = served.put(&unknown, plain).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("InvalidResourceType")));
    assert_eq!(served.gone(account).await, 200);
    let (_, left) = served.get("N/privateEndpoints/blob").await;
    let state =
        &left["properties"]["privateLinkServiceConnections"][0]["properties"]["privateLinkServiceConnectionState"];
    assert_eq!(state["status"], "Disconnected");
    served.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_a_code() {
    let served = Served::to(0);
    served.furnish().await;
    let id = format!("{N}/privateLinkServices/pls1");
    let with = |change: fn(&mut Value)| {
        let mut body = endpoint(MANUAL, &id);
        change(&mut body);
        body
    };
    let wrong = [
        (with(|b| b["properties"]["subnet"]["id"] = json!("x")), "InvalidRequestFormat"),
        (
            with(|b| b["properties"]["subnet"]["id"] = json!(format!("{N}/virtualNetworks/vnet1/subnets/none"))),
            "InvalidResourceReference",
        ),
        (with(|b| b["properties"][MANUAL] = json!([])), "InvalidRequestFormat"),
        (
            with(|b| {
                b["properties"][MANUAL][0]["properties"]["privateLinkServiceId"] = json!("nobody.knows.this.privlink");
            }),
            "InvalidResourceReference",
        ),
        (with(|b| b["properties"] = json!(7)), "InvalidRequestFormat"),
        (with(|b| b["tags"] = json!({ "a": 1 })), "InvalidRequestFormat"),
        (with(|b| b["properties"]["privlink"] = json!({ "soruces": [] })), "InvalidRequestFormat"),
    ];
    for (body, code) in wrong {
        let (status, error) = served.put("N/privateEndpoints/bad", body).await;
        assert_eq!((status, error["error"]["code"].as_str()), (400, Some(code)), "{error:#}");
    }
    let (status, error) = served.ask("GET", &format!("{N}/privateEndpoints/none"), "").await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("MissingApiVersionParameter")));
    let (status, error) = served.get("N/privateEndpoints/none").await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("ResourceNotFound")));
    let elsewhere = "/subscriptions/s/resourceGroups/none/providers/Microsoft.Network/virtualNetworks/v";
    let (status, error) = served.put(elsewhere, json!({ "location": "x" })).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("ResourceGroupNotFound")));
    let (status, _) = served.ask("POST", &at("N/privateEndpoints/none"), "").await;
    assert_eq!(status, 405);
    served.stop().await;
}

#[tokio::test]
async fn a_page_says_where_the_next_one_is() {
    let served = Served::to(0);
    served.furnish().await;
    for name in ["a", "b", "c"] {
        served
            .made(&format!("N/privateEndpoints/{name}"), endpoint(MANUAL, &format!("{N}/privateLinkServices/pls1")))
            .await;
    }
    let mut next = at("N/privateEndpoints?$top=2");
    let mut names = Vec::new();
    while !next.is_empty() {
        let (status, page) = served.ask("GET", &next, "").await;
        assert_eq!(status, 200, "{page:#}");
        names.extend(page["value"].as_array().unwrap().iter().map(|one| one["name"].clone()));
        let link = page["nextLink"].as_str().unwrap_or_default();
        next = link
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or_else(String::new, |(_, path)| format!("/{path}"));
    }
    assert_eq!(names, ["a", "b", "c"]);
    served.stop().await;
}

/// Lets `uid:1000` do everything in the subscription `mine`, and nothing elsewhere.
fn entitle(served: &Served) {
    use crate::model::{Key, RoleAssignment};
    let given = RoleAssignment {
        principal: "uid:1000".parse().unwrap(),
        role: "Contributor".parse().unwrap(),
        scope: "/subscriptions/mine".parse().unwrap(),
    };
    let mut items = Model::default();
    items.assignments.insert(Key::global(given.id().to_string()), given);
    let command = Put { items: Box::new(items), create_only: true };
    served.state.control.apply(&testing::root(), command).unwrap();
}

#[tokio::test]
async fn without_the_right_nobody_can_tell_what_is_there() {
    let served = Served::to(1000);
    entitle(&served);
    let group = "/subscriptions/default/resourceGroups/default";
    let network = |kind: &str, name: &str| format!("{group}/providers/Microsoft.Network/{kind}/{name}");
    let bodies = ["GET", "PUT", "PATCH", "DELETE"];
    for (kind, present) in [
        ("virtualNetworks", "spoke"),
        ("privateLinkServices", "orders-db"),
        ("privateEndpoints", "orders"),
        ("loadBalancers", "none"),
    ] {
        for method in bodies {
            let ask = async |name: &str| {
                let path = at(&network(kind, name));
                let (status, error) = served.ask(method, &path, r#"{"location":"westeurope","properties":{}}"#).await;
                (status, error.to_string().replace(name, "NAME"))
            };
            let (there, absent) = (ask(present).await, ask("absent").await);
            assert_eq!(there, absent, "{method} {kind}");
            assert_eq!(there.0, 403, "{method} {kind}: {there:?}");
            assert!(there.1.contains("AuthorizationFailed") && there.1.contains(group), "{there:?}");
        }
    }
    for part in ["subnets/endpoints", "virtualNetworkPeerings/x"] {
        let (status, _) = served.ask("DELETE", &at(&network("virtualNetworks", &format!("spoke/{part}"))), "").await;
        assert_eq!(status, 403, "{part}");
    }
    let connections = |name: &str| at(&network("privateLinkServices", &format!("{name}/privateEndpointConnections")));
    let (there, _) = served.ask("GET", &connections("orders-db"), "").await;
    let (absent, _) = served.ask("GET", &connections("absent"), "").await;
    assert_eq!((there, absent), (403, 403));
    for list in ["virtualNetworks", "privateEndpoints", "networkInterfaces", "privateLinkServices"] {
        let (status, all) = served.get(&format!("{group}/providers/Microsoft.Network/{list}")).await;
        assert_eq!((status, &all["value"]), (200, &json!([])), "{list}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_show_itself_is_not_there() {
    let served = Served::to(1000);
    entitle(&served);
    served.made("/subscriptions/mine/resourceGroups/own", json!({ "location": "westeurope" })).await;
    let mine = "/subscriptions/mine/resourceGroups/own/providers/Microsoft.Network";
    let subnet = json!([{ "name": "pe", "properties": { "addressPrefix": "10.5.1.0/24" } }]);
    let space = json!({ "addressPrefixes": ["10.5.0.0/16"] });
    let vnet = json!({ "location": "westeurope", "properties": { "addressSpace": space, "subnets": subnet } });
    served.made(&format!("{mine}/virtualNetworks/v"), vnet).await;
    let ask = async |name: &str| {
        let service = format!(
            "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/{name}"
        );
        let mut body = endpoint(MANUAL, &service);
        body["properties"]["subnet"]["id"] = json!(format!("{mine}/virtualNetworks/v/subnets/pe"));
        let (status, error) = served.put(&format!("{mine}/privateEndpoints/e"), body).await;
        let shown = served
            .ask(
                "POST",
                &at("/subscriptions/mine/providers/Microsoft.Network/locations/westeurope/checkPrivateLinkServiceVisibility"),
                &json!({ "privateLinkServiceAlias": service }).to_string(),
            )
            .await;
        (status, error.to_string().replace(name, "NAME"), shown)
    };
    let (hidden, absent) = (ask("orders-db").await, ask("nothing").await);
    assert_eq!(hidden, absent);
    assert_eq!((hidden.0, &hidden.2), (400, &(200, json!({ "visible": false }))), "{hidden:?}");
    served.stop().await;
}

#[tokio::test]
async fn conditions_are_judged_and_repetition_does_nothing_twice() {
    let served = Served::to(0);
    served.furnish().await;
    let path = at("N/loadBalancers/lb1");
    let conditional = async |method: &str, header: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{header}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = super::hostile::said(&served, request.as_bytes()).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let (_, shown) = served.get("N/loadBalancers/lb1").await;
    let tag = shown["etag"].as_str().unwrap().to_owned();
    let body = balancer(10000).to_string();
    assert_eq!(conditional("PUT", "If-None-Match: *", &body).await, "412");
    assert_eq!(conditional("PUT", "If-Match: \"other\"", &body).await, "412");
    assert_eq!(conditional("DELETE", "If-Match: W/\"other\"", "").await, "412");
    // With and without W/ and quotes: it is one tag.
    for form in [tag.clone(), tag.trim_start_matches("W/").to_owned(), tag.trim_start_matches("W/").replace('"', "")] {
        assert_eq!(conditional("PUT", &format!("If-Match: {form}"), &body).await, "200", "{form}");
    }
    let records = || served.state.control.verify_audit().unwrap().end.count;
    let before = records();
    for _ in 0..3 {
        served.made("N/privateLinkServices/pls1", service()).await;
        served.made("N/loadBalancers/lb1", balancer(10000)).await;
    }
    assert_eq!(records(), before, "the same again is no change");
    served.made("N/loadBalancers/lb1", balancer(10001)).await;
    assert_eq!(conditional("PUT", &format!("If-Match: {tag}"), &body).await, "412", "it has changed since");
    served.stop().await;
}

#[tokio::test]
async fn rights_come_before_the_body() {
    let served = Served::to(4242);
    // Somebody who may change something, and nothing of what is asked for.
    let given = crate::model::RoleAssignment {
        principal: "uid:4242".parse().unwrap(),
        role: "Contributor".parse().unwrap(),
        scope: "/subscriptions/s/resourceGroups/elsewhere".parse().unwrap(),
    };
    let mut items = Box::new(Model::default());
    items.assignments.insert(crate::model::Key::global(given.id().to_string()), given);
    served.state.control.apply(&testing::root(), Put { items, create_only: true }).unwrap();
    let mut asked = 0;
    for (template, operations) in crate::api::docs::document()["paths"].as_object().unwrap() {
        let path = template.replace("{provider}/{type}", "Microsoft.Storage/storageAccounts").replace(['{', '}'], "");
        for method in operations.as_object().unwrap().keys().filter(|word| ["put", "patch", "post"].contains(&&***word))
        {
            let method = method.to_uppercase();
            let (status, refused) = served.ask(&method, &at(&path), "{ this is no JSON").await;
            assert!(matches!(status, 403 | 404), "{method} {path}: {status} {refused}");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
    served.stop().await;
}
