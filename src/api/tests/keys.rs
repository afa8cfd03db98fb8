//! An object's key: it keeps its first spelling, and what has it later inherits nothing of what had it before.

use super::*;
use crate::model::state::ItemKind;
use crate::model::{Key, LinkResource, RoleAssignment, RoleName};

#[tokio::test]
async fn an_object_keeps_the_spelling_of_its_first_write() {
    let served = Served::to(0);
    let space = r#"{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.9.0.0/16"]}}}"#;
    for (path, body) in [
        ("Grp", r#"{"location":"westeurope"}"#),
        ("Grp/providers/Microsoft.Network/virtualNetworks/Net", space),
        (
            "Grp/providers/Microsoft.Network/virtualNetworks/Net/subnets/Sub",
            r#"{"properties":{"addressPrefix":"10.9.1.0/24"}}"#,
        ),
        ("Grp/providers/Microsoft.Network/loadBalancers/Bal", r#"{"location":"westeurope","properties":{}}"#),
        ("Grp/providers/Microsoft.Network/privateDnsZones/Own.Example", r#"{"location":"global","properties":{}}"#),
        ("Grp/providers/Microsoft.Storage/storageAccounts/Acct", r#"{"location":"westeurope","properties":{}}"#),
    ] {
        let first = format!("/subscriptions/default/resourceGroups/{path}");
        let (front, name) = first.rsplit_once('/').unwrap();
        let second = format!("{front}/{}", name.to_uppercase());
        for (method, path) in [("PUT", &first), ("PUT", &second), ("GET", &second), ("GET", &first)] {
            let body = if method == "PUT" { body } else { "" };
            let (status, shown) = served.ask(method, &format!("{path}?api-version=1"), body).await;
            assert!((200..=201).contains(&status), "{method} {path}: {shown}");
            assert_eq!(shown["id"], first.as_str(), "{method} {path}");
            assert_eq!(shown["name"], name, "{method} {path}");
        }
        let list = format!("{front}?api-version=1");
        if name != "Sub" {
            let (_, listed) = served.ask("GET", &list, "").await;
            let named = |one: &Value| one["name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name));
            let own: Vec<&Value> = listed["value"].as_array().unwrap().iter().filter(|one| named(one)).collect();
            assert_eq!((own.len(), own[0]["name"].as_str()), (1, Some(name)), "{listed}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn each_resource_of_one_key_leaves_its_own_names_to_its_own_endpoints() {
    const ACCOUNT: &str = "Microsoft.Storage/storageAccounts";
    let served = Served::to(0);
    let old = testing::key("old");
    let put = |change: &dyn Fn(&mut Model)| {
        let mut items = Box::new(Model::default());
        change(&mut items);
        served.state.control.apply(&testing::root(), Put { items, create_only: false }).expect("done")
    };
    let bound = |name: &str, last: u8| {
        let endpoint = testing::endpoint("spoke", Some(&format!("10.1.9.{last}")), "old");
        put(&|items| items.endpoints.insert(testing::key(name), endpoint.clone()));
    };
    let delete = |kind, reference: &str| {
        let command = Delete { kind, reference: reference.into() };
        served.state.control.apply(&testing::root(), command).expect("deleted");
    };
    for (at, (kind, name)) in
        [(ACCOUNT, "first"), ("Microsoft.Sql/servers", "second"), (ACCOUNT, "third")].into_iter().enumerate()
    {
        let blank = testing::resource("core", "10.20.99.9", vec![testing::target("", "", "10.20.0.9")]);
        let fqdns = vec![format!("{name}.example.com")];
        let resource = LinkResource { kind: Some(kind.to_owned()), fqdns, ..blank };
        put(&|items| items.resources.insert(old.clone(), resource.clone()));
        bound(name, 40 + u8::try_from(at).unwrap());
        delete(ItemKind::Resource, "old");
    }
    let names = |name: &str| {
        let view = served.state.control.view();
        let model = &view.state.model;
        let (key, endpoint) = model.endpoints.entry(&testing::key(name)).expect("there");
        let kind = model.bound_kind(key, endpoint).unwrap_or_default().to_owned();
        let names = crate::model::names::of_endpoint(model, key, endpoint).into_iter().map(|name| name.public);
        (kind, names.collect::<Vec<_>>())
    };
    let own = |kind: &str, name: &str| (kind.to_owned(), vec![format!("{name}.example.com")]);
    assert_eq!(names("first"), own(ACCOUNT, "first"));
    assert_eq!(names("second"), own("Microsoft.Sql/servers", "second"));
    // What is left goes with the last endpoint of each, and no other.
    delete(ItemKind::Endpoint, "third");
    assert_eq!(names("first"), own(ACCOUNT, "first"));
    delete(ItemKind::Endpoint, "first");
    assert_eq!(names("second"), own("Microsoft.Sql/servers", "second"));
    delete(ItemKind::Endpoint, "second");
    assert!(served.state.control.view().state.model.former_resources.is_empty());
    served.stop().await;
}

#[tokio::test]
async fn what_has_the_key_of_a_former_resource_sees_none_of_its_connections() {
    const ACCOUNT: &str = "Microsoft.Storage/storageAccounts";
    let served = Served::to(0);
    let (old, left) = (testing::key("old"), testing::key("left"));
    let put = |change: &dyn Fn(&mut Model)| {
        let mut items = Box::new(Model::default());
        change(&mut items);
        served.state.control.apply(&testing::root(), Put { items, create_only: false }).expect("done")
    };
    let resource = |kind: Option<&str>| LinkResource {
        kind: kind.map(str::to_owned),
        ..testing::resource("core", "10.20.99.9", vec![testing::target("", "", "10.20.0.9")])
    };
    put(&|items| items.resources.insert(old.clone(), resource(Some(ACCOUNT))));
    put(&|items| items.endpoints.insert(left.clone(), testing::endpoint("spoke", Some("10.1.9.9"), "old")));
    let reader = |uid: u32, kind: &str| {
        let scope = format!("/subscriptions/default/resourceGroups/default/providers/{kind}/old").parse().unwrap();
        let role = "Reader".parse::<RoleName>().unwrap();
        let given = RoleAssignment { principal: format!("uid:{uid}").parse().unwrap(), role, scope };
        put(&|items| items.assignments.insert(Key::global(given.id().to_string()), given.clone()));
        Caller::user(uid, format!("uid:{uid}"))
    };
    let (before, after) = (reader(7, ACCOUNT), reader(8, "Microsoft.Network/privateLinkServices"));
    let sees = |caller: &Caller| served.state.control.view().seen_by(caller).state.model.endpoints.contains_key(&left);
    assert!(sees(&before) && !sees(&after));
    let delete = Delete { kind: ItemKind::Resource, reference: "old".into() };
    served.state.control.apply(&testing::root(), delete).expect("deleted");
    put(&|items| items.resources.insert(old.clone(), resource(None)));
    assert!(!sees(&before) && !sees(&after), "a role at what is deleted goes with it");
    reader(7, ACCOUNT);
    assert!(sees(&before) && !sees(&after), "the other side of a connection is what it was made to");
    let view = served.state.control.view();
    assert_eq!(view.resource("old").expect("there").endpoints.len(), 0);
    let path = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network";
    let (_, shown) = served.ask("GET", &format!("{path}/privateEndpoints/left?api-version=1"), "").await;
    let connection = &shown["properties"]["privateLinkServiceConnections"][0]["properties"];
    let id = format!("/subscriptions/default/resourceGroups/default/providers/{ACCOUNT}/old");
    assert_eq!(connection["privateLinkServiceId"], id.as_str(), "{shown}");
    let (_, listed) = served
        .ask("GET", &format!("{path}/privateLinkServices/old/privateEndpointConnections?api-version=1"), "")
        .await;
    assert_eq!(listed["value"], serde_json::json!([]));
    served.stop().await;
}
