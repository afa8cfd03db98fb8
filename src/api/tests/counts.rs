//! What a caller may not know is left out, not shown as nothing.

use serde_json::json;

use super::unseen::{Asked, World, caller, things};
use super::*;
use crate::model::{Quota, Quotas};

/// Who reads `mine` and `hush` but for their endpoints.
const NETWORKER: u32 = 1_031;

async fn items(world: &World, uid: u32, path: &str) -> Vec<Value> {
    let answered = world.ask(&caller(uid), &Asked::get(path)).await;
    let body: Value = serde_json::from_str(&answered.body).expect("JSON");
    body["items"].as_array().unwrap_or_else(|| panic!("{uid} {path}: {body}")).clone()
}

#[tokio::test]
async fn counts_are_those_of_all_or_left_out() {
    let world = World::new(true);
    let mut more = Model::default();
    things::define(&mut more, "networker", &["Microsoft.Network/virtualNetworks/read", "Microsoft.Resources/*/read"]);
    things::assign(&mut more, &format!("uid:{NETWORKER}"), "networker", "/");
    world.put(more);
    let used = |lines: &[Value], quota: &str, scope: &str| {
        let line = lines.iter().find(|line| line["quota"] == quota && line["scope"] == scope);
        line.map(|line| line.get("used").cloned())
    };
    let all = items(&world, 0, "/v1/usage").await;
    for (quota, scope) in
        [("endpoints_per_vnet", "vnet hush/hush-net"), ("vnets_per_subscription", "subscription default")]
    {
        let count = used(&all, quota, scope).flatten().expect("root knows");
        assert!(count.as_u64() > Some(0), "{quota}: {count}");
    }
    let some = items(&world, NETWORKER, "/v1/usage").await;
    let vnets = used(&all, "vnets_per_subscription", "subscription default");
    assert_eq!(used(&some, "vnets_per_subscription", "subscription default"), vnets, "all of these are seen");
    assert_eq!(used(&some, "endpoints_per_vnet", "vnet hush/hush-net"), None, "{some:?}");
    assert!(!some.iter().any(|line| line["used"] == 0), "{some:?}");
    // Of a group in which not everything is seen, nobody says how much there is.
    let groups = items(&world, 0, "/v1/groups").await;
    assert!(groups.iter().all(|group| group["objects"].as_u64() > Some(0)), "{groups:?}");
    let groups = items(&world, NETWORKER, "/v1/groups").await;
    assert!(!groups.is_empty() && groups.iter().all(|group| group.get("objects").is_none()), "{groups:?}");
    let own = items(&world, things::TENANT, "/v1/usage").await;
    assert_eq!(used(&own, "vnets_per_subscription", "subscription default"), None, "others have VNets there: {own:?}");
}

#[test]
fn a_quota_is_told_without_what_is_used_of_it() {
    use crate::model::rules::usage;
    let (model, quotas) = (model(), Quotas::default().with(Quota::EndpointsPerVnet, Some(7)));
    let lines = usage(&model, &model, &quotas, |_, _| false);
    let told: Vec<_> = lines.iter().map(|line| (line.quota, line.used, line.limit)).collect();
    assert_eq!(told, [("endpoints_per_vnet", None, Some(7)); 2]);
}

#[test]
fn an_unseen_side_of_a_session_is_absent() {
    let text = json!({
        "endpoint": "default/orders", "protocol": "tcp", "state": "established", "idleSeconds": 1, "worker": 0,
        "packetsToService": 1, "bytesToService": 1, "packetsToConsumer": 1, "bytesToConsumer": 1,
        "nat": { "ip": "10.20.99.4", "port": 1024 },
    });
    let flow: crate::types::Flow = serde_json::from_value(text).expect("a flow");
    let shown = json!(flow);
    assert_eq!(shown["nat"]["port"], 1024);
    for side in ["consumer", "endpointAddress", "backend", "vnet"] {
        assert_eq!(shown.get(side), None, "{side}: {shown}");
    }
}
