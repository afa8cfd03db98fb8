//! What a caller may not see is answered like what is not there: every question and command, byte by byte.

use super::*;
use crate::model::{Key, RoleAssignment, RoleDefinition, SecurityGroup};
use crate::testing::{key, root};

/// The uid of somebody who may do all there is to do in the group `own`, and who sees nothing else.
const STRANGER: u32 = 1000;

/// Adds what `own` holds, and a thing of each kind that the stranger does not see, called `hidden`.
fn furnish(served: &Served) {
    let put = |items: Model| {
        let command = Put { items: Box::new(items), create_only: true };
        served.state.control.apply(&root(), command).expect("put");
    };
    let whole = served.state.control.view().state.model.clone();
    let (vnet, resource) = (whole.vnets[&key("spoke")].clone(), whole.resources[&key("orders-db")].clone());
    let endpoint = whole.endpoints[&key("orders")].clone();
    let mut items = Model::default();
    for group in ["default", "own"] {
        let name = |name: &str| Key::new(group, if group == "own" { "mine" } else { name });
        let elsewhere = |ip: &str| vec![testing::ip(ip)];
        let octet = if group == "own" { 8 } else { 7 };
        items.vnets.insert(name("hidden"), vnet.clone());
        items.security_groups.insert(name("hidden"), SecurityGroup { rules: Vec::new() });
        let nat = elsewhere(&format!("10.20.99.{octet}"));
        items.resources.insert(name("hidden"), crate::model::LinkResource { nat, ..resource.clone() });
        let mut made = endpoint.clone();
        made.addresses.clear();
        made.vnet = name("hidden");
        made.resource = name("hidden");
        items.endpoints.insert(name("hidden"), made);
    }
    let role = RoleDefinition {
        name: "everything".parse().expect("a name"),
        description: String::new(),
        actions: vec!["Microsoft.Network/*".parse().expect("a pattern")],
        not_actions: Vec::new(),
        assignable_scopes: vec!["/".parse().unwrap()],
    };
    items.roles.insert(Key::global("everything".to_owned()), role);
    for (principal, role, scope) in [
        (format!("uid:{STRANGER}"), "everything", "/subscriptions/default/resourceGroups/own"),
        ("uid:1001".to_owned(), "Reader", "/"),
    ] {
        let given = RoleAssignment {
            principal: principal.parse().expect("a principal"),
            role: role.parse().expect("a role"),
            scope: scope.parse().expect("a scope"),
        };
        items.assignments.insert(Key::global(given.id().to_string()), given);
    }
    put(items);
}

#[tokio::test]
async fn what_may_not_be_seen_is_answered_like_what_is_not_there() {
    let served = Served::to(STRANGER);
    furnish(&served);
    let grants = served.state.control.view();
    let hidden = |principal: &str| {
        let mut grants = grants.access.grants().iter();
        grants.find(|grant| grant.assignment.principal.to_string() == principal).expect("a grant").id.to_string()
    };
    let absent = "00000000-0000-8000-8000-000000000000";
    let mut asked = Vec::new();
    for (hidden, absent) in [("hidden", "absent"), ("default%2Fhidden", "default%2Fabsent")] {
        for (method, path, body) in [
            ("GET", "/v1/endpoints/NAME", ""),
            ("HEAD", "/v1/endpoints/NAME", ""),
            ("DELETE", "/v1/endpoints/NAME", ""),
            ("GET", "/v1/connections/NAME", ""),
            ("POST", "/v1/connections/NAME/approve", ""),
            ("POST", "/v1/connections/NAME/reject", r#"{"reason":"x"}"#),
            ("POST", "/v1/connections/NAME/remove", ""),
            ("POST", "/v1/connections/own%2Fmine/approve", r#"{"resource":"NAME"}"#),
            ("GET", "/v1/resources/NAME", ""),
            ("DELETE", "/v1/resources/NAME", ""),
            ("GET", "/v1/vnets/NAME", ""),
            ("DELETE", "/v1/vnets/NAME", ""),
            ("GET", "/v1/security-groups/NAME", ""),
            ("DELETE", "/v1/security-groups/NAME", ""),
        ] {
            let filled = |name: &str| (path.replace("NAME", name), body.replace("NAME", &name.replace("%2F", "/")));
            asked.push((method, filled(hidden), filled(absent), 404, (hidden.to_owned(), absent.to_owned())));
        }
    }
    for hidden in [hidden("uid:1001"), hidden("uid:0")] {
        for method in ["GET", "DELETE"] {
            let path = |id: &str| (format!("/v1/assignments/{id}"), String::new());
            asked.push((method, path(&hidden), path(absent), 404, (hidden.clone(), absent.to_owned())));
        }
    }
    for (method, hidden, absent, status, (name, other)) in asked {
        let seen = exchange(&served.socket, method, &hidden.0, hidden.1).await;
        let unseen = exchange(&served.socket, method, &absent.0, absent.1).await;
        let plain = |name: &str| name.replace("%2F", "/");
        let seen = (seen.0, seen.1.replace(&plain(&name), &plain(&other)));
        assert_eq!(seen, unseen, "{method} {}", hidden.0);
        assert_eq!(seen.0, status, "{method} {}: {}", hidden.0, seen.1);
    }
    // What is seen is answered as what it is, and so is everything to whoever sees it all.
    for (method, path, status) in [
        ("GET", "/v1/endpoints/own%2Fmine", 200),
        ("POST", "/v1/connections/own%2Fmine/approve", 200),
        ("DELETE", "/v1/endpoints/own%2Fmine", 200),
        ("DELETE", "/v1/roles/everything", 403),
    ] {
        assert_eq!(served.ask(method, path, "").await.0, status, "{method} {path}");
    }
    served.stop().await;
    let owner = Served::to(0);
    furnish(&owner);
    for path in ["/v1/endpoints/hidden", "/v1/vnets/default%2Fhidden", "/v1/resources/hidden"] {
        assert_eq!(owner.ask("GET", path, "").await.0, 200, "{path}");
    }
    assert_eq!(owner.ask("POST", "/v1/connections/hidden/approve", "").await.0, 200);
    owner.stop().await;
}

#[tokio::test]
async fn waiting_ends_with_a_change_and_with_the_time() {
    let served = Served::to(0);
    let now = served.ask("GET", "/v1/epoch", "").await.1["items"][0]["epoch"].as_u64().expect("a number");
    let (path, other) = (format!("/v1/epoch?after={now}&wait=15"), format!("/v1/epoch?after={}&wait=15", now + 9));
    assert_eq!(served.ask("GET", &other, "").await.1["items"][0]["epoch"], now, "another one is no wait");
    let asked = served.ask("GET", &path, "");
    let changed = async {
        let control = Arc::clone(&served.state.control);
        let approve = Decide::approve(crate::control::Decision { endpoint: "orders".into(), ..Default::default() });
        tokio::task::spawn_blocking(move || control.apply(&root(), approve)).await.expect("joined").expect("approved");
    };
    let ((status, answer), ()) = tokio::join!(asked, changed);
    assert_eq!((status, answer["items"][0]["epoch"].as_u64()), (200, Some(now + 1)), "{answer}");
    let path = format!("/v1/epoch?after={}&wait=1", now + 1);
    assert_eq!(served.ask("GET", &path, "").await.1["items"][0]["epoch"], now + 1);
    assert_eq!(served.ask("GET", "/v1/epoch?before=1", "").await.0, 400);
    served.stop().await;
}

#[tokio::test]
async fn a_change_of_what_is_unseen_ends_no_wait() {
    let served = Served::to(STRANGER);
    furnish(&served);
    let number =
        async |path: &str| served.ask("GET", path, "").await.1["items"][0]["epoch"].as_u64().expect("a number");
    let now = number("/v1/epoch").await;
    let approve = |endpoint: &str| {
        let decision = crate::control::Decision { endpoint: endpoint.into(), ..Default::default() };
        served.state.control.apply(&root(), Decide::approve(decision)).expect("approved");
    };
    approve("orders");
    assert_eq!(number("/v1/epoch").await, now, "somebody else's connection");
    assert_eq!(number(&format!("/v1/epoch?after={now}&wait=1")).await, now);
    approve("own/mine");
    assert_ne!(number(&format!("/v1/epoch?after={now}&wait=15")).await, now, "its own");
    served.stop().await;
}
