//! The audit log as callers read it who may not read every object.

use super::sides::{CONSUMER, PROVIDER, connected, name};
use super::*;

/// Lets `uid` read the audit log at `scope`.
fn let_audit(world: &World, uid: u32, scope: &str) {
    let mut items = Model::default();
    let role = format!("auditor-{uid}");
    things::define(&mut items, &role, &["Privlink/audit/read"]);
    things::assign(&mut items, &format!("uid:{uid}"), &role, scope);
    world.put(items);
}

fn group(name: &str) -> String {
    format!("/subscriptions/default/resourceGroups/{name}")
}

/// What a caller is told of the log: objects and actions, from the newest `limit`.
async fn told(world: &World, uid: u32) -> Vec<String> {
    let answered = world.ask(&caller(uid), &Asked::get("/v1/audit?limit=1000")).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    let json: Value = serde_json::from_str(&answered.body).expect("JSON");
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let line = |record: &Value| format!("{} {}", text(record, "action"), text(record, "object"));
    json["items"].as_array().expect("a list").iter().map(line).collect()
}

#[tokio::test]
async fn the_audit_log_tells_of_what_its_reader_may_read() {
    let (with, without) = (World::new(true), World::new(false));
    for world in [&with, &without] {
        let_audit(world, things::TENANT, &group("mine"));
        let_audit(world, things::WATCHER, "/");
        let decided = Asked { method: "POST", path: "/v1/connections/mine-pe/reject".into(), body: String::new() };
        assert_eq!(world.ask(&caller(things::TENANT), &decided).await.status, 200);
        world.delete(ItemKind::Resource, "mine/mineaccount");
        world.delete(ItemKind::Endpoint, "mine/mine-pe");
    }
    let mut found = Vec::new();
    let lists =
        ["audit?limit=1000", "audit?limit=3", "audit?limit=1000&object=hush", "audit/verify", "audit/export?from=1"];
    for uid in things::CALLERS {
        for path in lists {
            let asked = Asked::get(format!("/v1/{path}"));
            let (one, other) = (with.ask(&caller(uid), &asked).await, without.ask(&caller(uid), &asked).await);
            found.extend(wrong(uid, &asked, &one, &other));
            let listed = one.status == 200;
            let may = [things::TENANT, things::WATCHER].contains(&uid) && path.starts_with("audit?");
            assert_eq!(listed, may, "uid:{uid} {path}: {one:?}");
            assert!(!one.body.contains("\"seq\"") && !one.body.contains("\"hash\""), "{one:?}");
        }
    }
    assert!(found.is_empty(), "{} answers differ or tell too much:\n{}", found.len(), found.join("\n"));
    let own = told(&with, things::TENANT).await;
    for line in [
        "create vnet mine/mine-net",
        "create resource mine/mineaccount",
        "create resource group mine/mine",
        "create endpoint mine/mine-pe",
        "reject connection mine/mine-pe",
        "delete resource mine/mineaccount",
        "delete endpoint mine/mine-pe",
    ] {
        assert!(own.iter().any(|one| one == line), "{line} is missing in {own:#?}");
    }
    assert!(own.iter().any(|line| line.starts_with("create assignment")), "those of the group: {own:#?}");
    assert!(told(&with, things::WATCHER).await.is_empty(), "who reads no object is told of none");
    let whole = world_of(&with, "/v1/audit?limit=1000").await;
    assert!(whole.contains("hush/hush-pe") && whole.contains("\"seq\":1,"), "{whole}");
    assert!(world_of(&with, "/v1/audit/export?from=1").await.contains("hush/hush-pe"));
}

/// What uid 0 is answered.
async fn world_of(world: &World, path: &str) -> String {
    world.ask(&root(), &Asked::get(path)).await.body
}

#[tokio::test]
async fn a_provider_is_told_of_this_connection_and_not_of_the_endpoint() {
    let world = connected();
    let_audit(&world, PROVIDER, &group("prov"));
    let_audit(&world, CONSUMER, &group("cons"));
    let decided = Asked { method: "POST", path: "/v1/connections/cons-pe/reject".into(), body: String::new() };
    assert_eq!(world.ask(&caller(PROVIDER), &decided).await.status, 200);
    let change = |change: &dyn Fn(&mut crate::model::PrivateEndpoint)| {
        let mut items = Model::default();
        let mut endpoint = world.state.control.view().state.model.endpoints[&name("cons", "-pe")].clone();
        change(&mut endpoint);
        items.endpoints.insert(name("cons", "-pe"), endpoint);
        world.state.control.apply(&root(), Put { items: Box::new(items), create_only: false }).expect("put");
    };
    change(&|endpoint| endpoint.max_sessions = Some(7));
    let of_endpoint = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains("cons/cons-pe")).collect()
    };
    let seen = of_endpoint(told(&world, PROVIDER).await);
    assert_eq!(seen, ["create endpoint cons/cons-pe", "reject connection cons/cons-pe"]);
    let answered = world.ask(&caller(PROVIDER), &Asked::get("/v1/audit?limit=1000")).await.body;
    for hidden in ["cons-net", "10.22.", "cons.internal"] {
        assert!(!answered.contains(hidden), "{hidden}: {answered}");
    }
    let own = of_endpoint(told(&world, CONSUMER).await);
    assert!(own.contains(&"update endpoint cons/cons-pe".to_owned()), "{own:?}");
    // Another endpoint of the same name, bound to something else: its owner is told nothing of the first.
    let mut again = world.state.control.view().state.model.endpoints[&name("cons", "-pe")].clone();
    world.delete(ItemKind::Endpoint, "cons/cons-pe");
    assert!(of_endpoint(told(&world, PROVIDER).await).is_empty(), "it is gone");
    again.manual = true;
    again.status = None;
    let mut items = Model::default();
    items.endpoints.insert(name("cons", "-pe"), again);
    world.put(items);
    assert_eq!(of_endpoint(told(&world, PROVIDER).await), ["create endpoint cons/cons-pe"]);
}
