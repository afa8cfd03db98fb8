use serde_json::json;

use super::*;

const ALL: &str = "/v1/resources/orders-db/connections";
const PLS: &str =
    "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/orders-db";
const ENDPOINT: &str =
    "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateEndpoints/orders";
const VERSION: &str = "?api-version=2025-05-01";

#[tokio::test]
async fn the_end_of_an_approval_is_shown_wherever_its_state_is() {
    let served = Served::to(0);
    let (status, approved) = served.ask("POST", "/v1/connections/orders/approve", r#"{"forSeconds":28800}"#).await;
    assert_eq!(status, 200, "{approved}");
    let end = json!("2026-05-01T20:00:00Z");
    for (path, at) in [
        ("/v1/connections", "/items/0"),
        ("/v1/connections/orders", "/items/0"),
        ("/v1/endpoints", "/items/0"),
        ("/v1/endpoints/orders", "/items/0"),
        ("/v1/status", "/items/0/endpoints/0"),
        (&format!("{ENDPOINT}{VERSION}"), "/properties/privlink"),
        (&format!("{PLS}/privateEndpointConnections{VERSION}"), "/value/0/properties/privlink"),
    ] {
        let (status, answer) = served.ask("GET", path, "").await;
        let shown = answer.pointer(at).unwrap_or_else(|| panic!("{path}: {answer}"));
        assert_eq!((status, &shown["approvalEndsAt"]), (200, &end), "{path}: {answer}");
        assert_eq!(shown["approvalSecondsLeft"], 28_800, "{path}");
    }
    let (_, service) = served.ask("GET", &format!("{PLS}{VERSION}"), "").await;
    let nested = &service["properties"]["privateEndpointConnections"][0]["properties"]["privlink"];
    assert_eq!(
        (&nested["approvalEndsAt"], nested.get("approvalSecondsLeft")),
        (&end, None),
        "its tag stays for a second"
    );
    let (_, again) = served.ask("POST", "/v1/connections/orders/approve", "").await;
    assert_eq!((&again["items"][0]["from"], &again["items"][0]["changed"]), (&json!("Approved"), &json!(true)));
    let (_, shown) = served.ask("GET", "/v1/connections/orders", "").await;
    assert_eq!(shown["items"][0].get("approvalEndsAt"), None, "an approval without an end is for good: {shown}");
    for verb in ["reject", "remove"] {
        let path = format!("/v1/connections/orders/{verb}");
        let (status, refused) = served.ask("POST", &path, r#"{"forSeconds":5}"#).await;
        assert_eq!((status, &refused["error"]["target"]), (400, &json!("forSeconds")), "{verb}: {refused}");
    }
    for seconds in ["0", "18446744073709551615"] {
        let body = format!(r#"{{"forSeconds":{seconds}}}"#);
        let (status, refused) = served.ask("POST", "/v1/connections/orders/approve", &body).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("InvalidLifetime")), "{refused}");
    }
    served.stop().await;
}

#[tokio::test]
async fn what_arm_shows_of_an_end_can_be_put_back() {
    let served = Served::to(0);
    assert_eq!(served.ask("POST", "/v1/connections/orders/approve", r#"{"forSeconds":60}"#).await.0, 200);
    let (_, list) = served.ask("GET", &format!("{PLS}/privateEndpointConnections{VERSION}"), "").await;
    let shown = list["value"][0].clone();
    let path = format!("{}{VERSION}", shown["id"].as_str().expect("an ID"));
    let put = async |body: Value| served.ask("PUT", &path, &body.to_string()).await;
    let path_of_endpoint = format!("{ENDPOINT}{VERSION}");
    let (status, back) = put(shown.clone()).await;
    assert_eq!((status, &back), (200, &shown), "its own GET changes nothing");
    let mut later = shown.clone();
    later["properties"]["privlink"]["approvalEndsAt"] = json!("2026-06-01T00:00:00Z");
    let (_, moved) = put(later.clone()).await;
    assert_eq!(moved["properties"]["privlink"]["approvalEndsAt"], "2026-06-01T00:00:00Z");
    later["properties"]["privlink"]["approvalEndsAt"] = json!("2026-04-01T00:00:00Z");
    let (status, refused) = put(later.clone()).await;
    assert_eq!(status, 400, "an end in the past: {refused}");
    let (status, endpoint) = served.ask("GET", &path_of_endpoint, "").await;
    assert_eq!((status, served.ask("PUT", &path_of_endpoint, &endpoint.to_string()).await.0), (200, 200));
    later["properties"]["privateLinkServiceConnectionState"]["status"] = json!("Rejected");
    let (status, rejected) = put(later).await;
    assert_eq!((status, rejected["properties"]["privlink"].get("approvalEndsAt")), (200, None), "{rejected}");
    served.stop().await;
}

#[tokio::test]
async fn several_connections_are_listed_and_decided() {
    let served = Served::to(0);
    let (status, list) = served.ask("POST", &format!("{ALL}/approve"), r#"{"dryRun":true}"#).await;
    assert_eq!(status, 200, "{list}");
    let found = &list["items"][0];
    let listed = found["listed"].as_str().expect("a word");
    assert_eq!(found["connections"].as_array().map(Vec::len), Some(1));
    assert_eq!(state_of_orders(&served), "Pending");
    let (status, refused) = served.ask("POST", &format!("{ALL}/approve"), r#"{"listed":"other"}"#).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("Changed")), "{refused}");
    let body = json!({ "listed": listed, "forSeconds": 60, "reason": "for the audit" }).to_string();
    let (status, done) = served.ask("POST", &format!("{ALL}/approve"), &body).await;
    let one = &done["items"][0]["connections"][0];
    assert_eq!((status, &one["from"], &one["to"]), (200, &json!("Pending"), &json!("Approved")), "{done}");
    assert_eq!(one["approvalSecondsLeft"], 60);
    for (body, expected) in [
        (r#"{"forSeconds":1}"#, 400),
        (r#"{"vnet":"nowhere"}"#, 404),
        (r#"{"ifState":"Sideways"}"#, 400),
        (r#"{"subscription":"other"}"#, 200),
    ] {
        assert_eq!(served.ask("POST", &format!("{ALL}/reject"), body).await.0, expected, "{body}");
    }
    assert_eq!(state_of_orders(&served), "Approved", "none of these was about it");
    assert_eq!(served.ask("POST", "/v1/resources/nothing/connections/reject", "").await.0, 404);
    assert_eq!(served.ask("POST", &format!("{ALL}/reject"), r#"{"vnet":"spoke"}"#).await.0, 200);
    assert_eq!(state_of_orders(&served), "Rejected");
    served.stop().await;
}
