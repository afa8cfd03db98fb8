//! What a client reads and writes back: nothing but what it changed is changed.

use super::super::super::arm::ROUTES;
use super::*;
use crate::control::Put;
use crate::model::Key;

const ACCOUNT: &str = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/accta";

impl Served {
    /// Something of every kind, as Azure's clients make it and as files do (the group `mine`).
    async fn furnish_all(&self) {
        self.furnish().await;
        let mut items = unseen::things::each("mine", 8);
        let (near, far) = (Key::new("mine", "mine-net"), Key::new("mine", "far-net"));
        let mut net = items.vnets.get(&near).unwrap().clone();
        net.peerings.push(far.clone());
        items.vnets.insert(near.clone(), net);
        items.vnets.insert(far, crate::model::Vnet { peerings: vec![near], ..testing::vnet("10.9.0.0/16", vec![]) });
        self.state.control.apply(&testing::root(), Put { items: Box::new(items), create_only: true }).unwrap();
        let space = json!({ "addressPrefixes": ["10.2.0.0/16"] });
        self.made(
            "N/virtualNetworks/vnet2",
            json!({ "location": "westeurope", "properties": { "addressSpace": space } }),
        )
        .await;
        let peer = |to: &str| json!({ "properties": { "remoteVirtualNetwork": { "id": format!("{N}/virtualNetworks/{to}") } } });
        self.made("N/virtualNetworks/vnet1/virtualNetworkPeerings/to2", peer("vnet2")).await;
        let mut direct = service();
        let properties = direct["properties"].as_object_mut().unwrap();
        properties.remove("loadBalancerFrontendIpConfigurations");
        properties.insert("destinationIPAddress".into(), json!("10.1.2.30"));
        self.made("N/privateLinkServices/pls2", direct).await;
        let account = json!({ "location": "westeurope", "sku": { "name": "Standard_LRS" }, "kind": "StorageV2", "properties": {
            "accessTier": "Hot", "somethingSecret": "hidden" } });
        self.made(ACCOUNT, account).await;
        let mut fixed = endpoint(MANUAL, &format!("{N}/privateLinkServices/pls1"));
        fixed["properties"]["ipConfigurations"] = json!([{ "name": "ip", "properties": { "groupId": "", "memberName": "", "privateIPAddress": "10.1.1.50" } }]);
        self.made("N/privateEndpoints/fixed", fixed).await;
        self.made("N/privateEndpoints/pending", endpoint(MANUAL, &format!("{N}/privateLinkServices/pls2"))).await;
        let mut blob = endpoint("privateLinkServiceConnections", ACCOUNT);
        blob["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"] = json!(["blob"]);
        self.made("N/privateEndpoints/blob", blob).await;
        let zone = "N/privateDnsZones/example.internal";
        self.made(zone, json!({ "location": "global" })).await;
        for link in ["one", "two"] {
            let vnet = format!("{N}/virtualNetworks/vnet{}", if link == "one" { 1 } else { 2 });
            let body = json!({ "location": "global", "properties": { "virtualNetwork": { "id": vnet } } });
            self.made(&format!("{zone}/virtualNetworkLinks/{link}"), body).await;
        }
        let record = json!({ "properties": { "ttl": 60, "aRecords": [{ "ipv4Address": "10.1.2.3" }], "metadata": { "a": "b" } } });
        self.made(&format!("{zone}/A/www"), record).await;
        let configs = json!([{ "name": "z", "properties": { "privateDnsZoneId": format!("{N}/privateDnsZones/example.internal") } }]);
        self.made(
            "N/privateEndpoints/blob/privateDnsZoneGroups/default",
            json!({ "properties": { "privateDnsZoneConfigs": configs } }),
        )
        .await;
    }

    /// Paths of everything of one template that a PUT goes to.
    async fn every(&self, template: &str) -> Vec<String> {
        let groups = [("s", "shop"), ("default", "mine")];
        let below = |rest: &str| groups.map(|(s, g)| format!("/subscriptions/{s}/resourceGroups/{g}{rest}"));
        let (_, rest) = template.split_once("/resourceGroups/{group}").expect("an object is in a group");
        let rest = rest.replace("{provider}/{type}", "Microsoft.Storage/storageAccounts");
        let mut paths: Vec<String> = below("").to_vec();
        for part in rest.split('/').skip(1) {
            let mut next = Vec::new();
            for path in &paths {
                match part {
                    // A list of what is there; the last part of each ID is its name.
                    "{relative}" => next.extend(["www", "mine-www"].map(|name| format!("{path}/{name}"))),
                    "{record}" => next.push(format!("{path}/A")),
                    open if open.starts_with('{') => {
                        let (status, list) = self.get(path).await;
                        let all = list["value"].as_array().filter(|_| status == 200).cloned().unwrap_or_default();
                        next.extend(all.iter().map(|one| format!("{path}/{}", one["name"].as_str().unwrap())));
                    }
                    fixed => next.push(format!("{path}/{fixed}")),
                }
            }
            paths = next;
        }
        let mut there = Vec::new();
        for path in paths {
            if self.get(&path).await.0 == 200 {
                there.push(path);
            }
        }
        if template.ends_with("{record}/{relative}") {
            there.push(format!("{N}/privateDnsZones/example.internal/SOA/@"));
        }
        there
    }

    fn records(&self) -> u64 {
        self.state.control.verify_audit().unwrap().end.count
    }
}

/// `shown` as the models of an SDK send it: without what is read only, and without what Azure has no word for.
fn without_output(shown: &Value) -> Value {
    const OUTPUT: [&str; 12] = [
        "id",
        "etag",
        "type",
        "provisioningState",
        "resourceGuid",
        "privlink",
        "peeringState",
        "peeringSyncLevel",
        "alias",
        "networkInterfaces",
        "privateEndpointConnections",
        "linkIdentifier",
    ];
    match shown {
        Value::Object(fields) => {
            // An ID alone is a reference, and no output.
            let output = |name: &str| OUTPUT.contains(&name) && fields.len() > 1;
            let left = fields.iter().filter(|(name, _)| !output(name));
            Value::Object(left.map(|(name, value)| (name.clone(), without_output(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_output).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => shown.clone(),
    }
}

#[tokio::test]
async fn every_kind_sent_back_as_it_was_read_is_no_change() {
    let served = Served::to(0);
    served.furnish_all().await;
    let mut wrong = Vec::new();
    for route in ROUTES.iter().filter(|route| route.operations.iter().any(|one| one.method == "PUT")) {
        let paths = served.every(route.template).await;
        assert!(!paths.is_empty(), "{}: make one of them in `furnish_all`", route.template);
        for path in paths {
            let (_, shown) = served.get(&path).await;
            for (how, body) in [("whole", shown.clone()), ("by a model", without_output(&shown))] {
                let (before, records) = (served.state.control.view(), served.records());
                let (status, answer) = served.put(&path, body).await;
                if status != 200 {
                    wrong.push(format!("{path} {how}: {status} {}", answer["error"]["message"]));
                } else if answer != shown || served.get(&path).await.1 != shown {
                    wrong.push(format!("{path} {how}: shown otherwise\n{shown}\n{answer}"));
                } else if served.records() != records || served.state.control.view().state.model != before.state.model {
                    wrong.push(format!("{path} {how}: a change was made"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    served.stop().await;
}

#[tokio::test]
async fn of_what_is_read_and_sent_back_with_other_tags_only_the_tags_change() {
    let served = Served::to(0);
    served.furnish_all().await;
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for route in ROUTES.iter().filter(|route| route.operations.iter().any(|one| one.method == "PUT")) {
        for path in served.every(route.template).await {
            let (_, shown) = served.get(&path).await;
            if shown.get("tags").is_none() || path.contains("/networkInterfaces/") {
                continue;
            }
            seen += 1;
            let mut wanted = shown.clone();
            wanted["tags"] = json!({ "changed": "yes" });
            let (status, mut answer) = served.put(&path, wanted.clone()).await;
            answer["etag"] = wanted["etag"].clone();
            if status != 200 || answer != wanted {
                wrong.push(format!("{path}: {status}\n{wanted}\n{answer}"));
            }
        }
    }
    assert!(wrong.is_empty() && seen > 12, "{seen}\n{}", wrong.join("\n"));
    served.stop().await;
}

/// A service stays behind its load balancer whatever is sent back with a change; an order is one that Azure's own words
/// leave room for.
#[tokio::test]
async fn a_service_stays_behind_its_load_balancer() {
    let served = Served::to(0);
    let shown = served.furnish().await;
    let path = "N/privateLinkServices/pls1";
    let port = |shown: &Value| shown["properties"]["privlink"]["targets"][0]["ports"][0]["backendPort"].clone();
    // The targets that come back are those of before: the balancer has moved meanwhile.
    served.made("N/loadBalancers/lb1", balancer(20000)).await;
    let mut stale = shown.clone();
    stale["properties"]["autoApproval"]["subscriptions"] = json!(["auto", "other"]);
    stale["properties"]["privlink"]["nat"] = json!(["10.1.2.99"]);
    let moved = served.made(path, stale).await;
    assert_eq!((port(&moved), &moved["properties"]["privlink"]["nat"]), (json!(20000), &json!(["10.1.2.4"])));
    assert_eq!(moved["properties"]["autoApproval"]["subscriptions"], json!(["auto", "other"]));
    let frontends = moved["properties"]["loadBalancerFrontendIpConfigurations"].as_array().map(Vec::len);
    assert_eq!(frontends, Some(1));
    served.made("N/loadBalancers/lb1", balancer(30000)).await;
    assert_eq!(port(&served.get(path).await.1), json!(30000));
    // Nothing is left of it without its frontend, unless it is given servers of its own.
    let mut own = served.get(path).await.1;
    own["properties"]["loadBalancerFrontendIpConfigurations"] = json!([]);
    assert_eq!(served.put(path, own.clone()).await.0, 400);
    own["properties"]["privlink"]["targets"] =
        json!([{ "backends": ["10.1.2.21"], "ports": [{ "protocol": "tcp", "port": 443, "backendPort": 1 }] }]);
    assert_eq!(port(&served.made(path, own).await), json!(1));
    served.made("N/loadBalancers/lb1", balancer(40000)).await;
    assert_eq!(port(&served.get(path).await.1), json!(1));
    served.stop().await;
}

/// The address that a Dynamic configuration has is not in it: a client that did not ask for it would order it the next
/// time, or plan to take it away.
#[tokio::test]
async fn a_dynamic_address_is_shown_beside_its_configuration() {
    let served = Served::to(0);
    let shown = served.furnish().await;
    let config = &shown["properties"]["ipConfigurations"][0]["properties"];
    assert_eq!((config.get("privateIPAddress"), &config["privateIPAllocationMethod"]), (None, &json!("Dynamic")));
    assert_eq!(shown["properties"]["privlink"]["nat"], json!(["10.1.2.4"]));
    let mut fixed = shown.clone();
    fixed["properties"]["ipConfigurations"][0]["properties"]["privateIPAllocationMethod"] = json!("Static");
    fixed["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] = json!("10.1.2.44");
    let fixed = served.made("N/privateLinkServices/pls1", fixed).await;
    assert_eq!(fixed["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"], "10.1.2.44");
    assert_eq!(fixed["properties"]["privlink"]["nat"], json!(["10.1.2.44"]));
    served.stop().await;
}
