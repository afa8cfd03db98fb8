//! HEAD and `If-None-Match` at every route of the table, and refusals in the words of properties.

use serde_json::json;

use super::*;
use crate::api::arm::ROUTES;

/// What everybody may see, for who sees all of it.
fn furnished() -> World {
    let world = World::empty();
    world.put(things::each("mine", 8));
    world
}

#[tokio::test]
async fn every_object_is_told_to_be_there_and_is_sent_once() {
    let world = furnished();
    let mut there = 0;
    for route in ROUTES {
        let path = requests::filled(route.template, "mine", "mine").replace("hush", "mine");
        let asked = |method: &'static str, path: &str| Asked {
            method,
            path: format!("{path}?api-version=1"),
            body: String::new(),
        };
        let shown = world.ask(&root(), &asked("GET", &path)).await;
        if shown.status == 405 || !route.template.ends_with('}') || route.template.ends_with("{type}") {
            continue;
        }
        let head = world.ask(&root(), &asked("HEAD", &path)).await;
        assert_eq!(head.body, "", "{path}");
        let list = route.template.ends_with("{record}");
        let expected = match shown.status {
            200 if !list => 204,
            other => other,
        };
        assert_eq!(head.status, expected, "HEAD {path}");
        let absent =
            path.replace("mine-", "none-").replace("mine.internal", "none.internal").replace("mineaccount", "none");
        if absent != path && !list {
            assert_eq!(world.ask(&root(), &asked("HEAD", &absent)).await.status, 404, "HEAD {absent}");
        }
        let body: Value = serde_json::from_str(&shown.body).unwrap_or_default();
        let Some(tag) = body["etag"].as_str().filter(|_| shown.status == 200) else { continue };
        there += 1;
        for (tags, expected) in [
            (tag.to_owned(), 304),
            (format!("\"other\", {}", tag.trim_start_matches("W/")), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            let again = world.ask_with(&root(), &asked("GET", &path), &[("if-none-match", &tags)]).await;
            assert_eq!(again.status, expected, "{path} {tags}");
            assert_eq!(again.body.is_empty(), expected == 304, "{path} {tags}");
            assert!(again.headers.iter().any(|(name, value)| name == "etag" && value == tag), "{again:?}");
        }
    }
    assert!(there > 8, "{there} objects were looked at");
}

const MINE: &str = "/subscriptions/default/resourceGroups/mine/providers/Microsoft.Network";

fn put(path: &str, body: &Value) -> Asked {
    Asked { method: "PUT", path: format!("{MINE}/{path}?api-version=1"), body: body.to_string() }
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_of_which_property() {
    let world = furnished();
    let here = |properties: Value| json!({ "location": "westeurope", "properties": properties });
    let subnet = json!({ "id": format!("{MINE}/virtualNetworks/mine-net/subnets/mine-sub") });
    let service = format!("{MINE}/privateLinkServices/mine-pls");
    let endpoint = |more: Value| {
        let asked = json!([{ "name": "c", "properties": { "privateLinkServiceId": service, "requestMessage": "m".repeat(200) } }]);
        let mut properties = json!({ "subnet": subnet, "manualPrivateLinkServiceConnections": asked });
        for (name, value) in more.as_object().expect("an object") {
            properties[name] = value.clone();
        }
        here(properties)
    };
    let space = |prefixes: Value, subnets: Value| {
        here(json!({ "addressSpace": { "addressPrefixes": prefixes }, "subnets": subnets }))
    };
    let part = |name: &str, prefix: &str| json!({ "name": name, "properties": { "addressPrefix": prefix } });
    let address = json!([{ "name": "i", "properties": { "privateIPAddress": "10.8.77.7", "memberName": "" } }]);
    for (asked, code, target, said) in [
        (
            put("privateEndpoints/new", &endpoint(json!({}))),
            "RequestMessageTooLong",
            "requestMessage",
            "200 characters",
        ),
        (
            put(
                "privateEndpoints/new",
                &endpoint(json!({ "ipConfigurations": address, "privlink": { "sources": [] } })),
            ),
            "",
            "properties.ipConfigurations[0].properties.privateIPAddress",
            "leave `privateIPAddress` out",
        ),
        (
            put("virtualNetworks/new", &space(json!(["10.50.0.0/16"]), json!([part("a", "10.51.0.0/24")]))),
            "NetcfgSubnetRangeOutsideVnet",
            "properties.subnets[0].properties.addressPrefixes[0]",
            "extend `addressSpace.addressPrefixes`",
        ),
        (
            put("virtualNetworks/new", &space(json!([]), json!([]))),
            "InvalidAddressSpace",
            "properties.addressSpace.addressPrefixes",
            "the address space is empty",
        ),
        (
            put("privateLinkServices/mine-pls", &here(json!({ "privlink": { "maxSessions": 0 } }))),
            "",
            "properties.privlink.maxSessions",
            "",
        ),
    ] {
        let answered = world.ask(&root(), &asked).await;
        assert_eq!(answered.status, 400, "{asked:?}: {answered:?}");
        let body: Value = serde_json::from_str(&answered.body).expect("JSON");
        let error = &body["error"];
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(said) && message.contains(target), "{asked:?}: {error:#}");
        if !code.is_empty() {
            assert_eq!(error["code"], code, "{error:#}");
        }
        let details = error["details"].as_array().expect("details");
        let detail = details.iter().find(|one| one["target"].as_str().is_some_and(|found| found.starts_with(target)));
        assert!(detail.is_some(), "{target}: {error:#}");
        for key in [
            "request_message",
            "address_space",
            "addresses[",
            "max_sessions",
            "subnets[0].prefix",
            "`ip`",
            "rules, so nothing",
        ] {
            assert!(!error.to_string().contains(key), "{key}: {error:#}");
        }
    }
    // The same mistake in a document is told by its key.
    let mut items = Model::default();
    let mut made = things::each("mine", 8).endpoints[&Key::new("mine", "mine-pe")].clone();
    (made.request_message, made.manual, made.zone_group) = ("m".repeat(200), true, None);
    made.addresses.clear();
    items.endpoints.insert(Key::new("mine", "new"), made);
    let text = serde_json::to_string(&items).expect("JSON");
    let body = json!({ "name": "d", "document": text, "dryRun": false, "createOnly": true }).to_string();
    let answered = world.ask(&root(), &Asked { method: "POST", path: "/v1/apply".into(), body }).await;
    let body: Value = serde_json::from_str(&answered.body).expect("JSON");
    let message = body["error"]["message"].as_str().expect("a message");
    assert!(message.contains("endpoint mine/new: request_message") && message.contains("200 characters"), "{body:#}");
}
