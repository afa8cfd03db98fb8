//! What a request may name: conditions that nobody judges, and names that no ID can have.

use super::*;
use crate::access::rights::{Right, Verb};
use crate::model::state::{Item, ItemKind};
use crate::model::{Key, ResourceGroup};

#[tokio::test]
async fn a_condition_that_is_not_judged_is_refused_and_nothing_is_assigned() {
    let served = Served::to(0);
    for condition in [r#""condition":"@Resource[x] StringEquals 'y'""#, r#""conditionVersion":"2.0""#] {
        let body = format!(r#"{{"principal":"uid:7","role":"Reader","scope":"/",{condition}}}"#);
        let (status, error) = served.ask("POST", "/v1/assignments", &body).await;
        assert_eq!(status, 400, "{error}");
        assert!(error.to_string().contains("conditions are not judged"), "{error}");
    }
    let view = served.state.control.view();
    let principal = "uid:7".parse().unwrap();
    assert!(view.access.grants().iter().all(|grant| grant.assignment.principal != principal));
    // Azure's clients write the field even where there is none.
    let body = r#"{"principal":"uid:7","role":"Reader","scope":"/","condition":null}"#;
    assert_eq!(served.ask("POST", "/v1/assignments", body).await.0, 200);
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_name_is_refused_to_everybody_and_never_judged_elsewhere() {
    for uid in [0, 1000] {
        let served = Served::to(uid);
        let body = r#"{"location":"westeurope","properties":{}}"#;
        for group in ["a%20b", "g%2Fh", "a%00b", "%2E%2E", "a%2A", "g%2Fproviders%2Fx", "a%252Fb", "dot.", "%FF"] {
            for (method, rest) in [
                ("PUT", ""),
                ("GET", ""),
                ("GET", "/providers/Microsoft.Network/virtualNetworks/v"),
                ("PUT", "/providers/Microsoft.Network/virtualNetworks/v"),
                ("GET", "/providers/Microsoft.Network/privateEndpoints"),
                ("DELETE", "/providers/Microsoft.Network/privateEndpoints/e"),
                ("PUT", "/providers/Microsoft.Storage/storageAccounts/acct"),
                ("GET", "/providers/Microsoft.Network/locations/westeurope/availablePrivateEndpointTypes"),
            ] {
                let path = format!("/subscriptions/default/resourceGroups/{group}{rest}?api-version=2025-05-01");
                let (status, error) = served.ask(method, &path, if method == "PUT" { body } else { "" }).await;
                assert_eq!(status, 400, "{uid}: {method} {path}: {error}");
                assert_eq!(error["error"]["target"], "group", "{uid}: {method} {path}: {error}");
            }
        }
        let group = "/subscriptions/default/resourceGroups/default/providers";
        for rest in [
            "/Microsoft.Network/virtualNetworks/a%2Fb",
            "/Microsoft.Network/virtualNetworks/spoke/subnets/a%2Fb",
            "/Microsoft.Network/virtualNetworks/spoke/subnets/a%20b",
            "/Microsoft.Network/virtualNetworks/spoke/virtualNetworkPeerings/%20",
            "/Microsoft.Network/privateEndpoints/%2E%2E",
            "/Microsoft.Network/loadBalancers/a%3Fb",
            "/Microsoft.Network/privateLinkServices/a%28b%29",
            "/Microsoft.Storage/storageAccounts/a%C3%A9",
            "/Microsoft.Storage/storageAccounts/acct/privateEndpointConnections/a%2Fb",
        ] {
            for method in ["GET", "DELETE"] {
                let path = format!("{group}{rest}?api-version=2025-05-01");
                let (status, error) = served.ask(method, &path, "").await;
                assert_eq!((status, &error["error"]["code"]), (400, &"InvalidResourceName".into()), "{uid}: {path}");
            }
        }
        served.stop().await;
    }
}

#[tokio::test]
async fn a_group_has_letters_of_any_script_and_roles_hold_in_it() {
    let served = Served::to(0);
    let group = "/subscriptions/default/resourceGroups/R%C3%A9seau_%28prod%29";
    let at = |rest: &str| format!("{group}{rest}?api-version=2025-05-01");
    assert_eq!(served.ask("PUT", &at(""), r#"{"location":"westeurope"}"#).await.0, 201);
    let network = "/providers/Microsoft.Network/virtualNetworks/v";
    let body = r#"{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.9.0.0/16"]}}}"#;
    let (status, made) = served.ask("PUT", &at(network), body).await;
    assert!((200..=201).contains(&status), "{made}");
    let id = format!("/subscriptions/default/resourceGroups/R\u{e9}seau_(prod){network}");
    assert_eq!(made["id"], id.as_str());
    // The other case of a letter is the same group, also of a letter that is not ASCII.
    let upper = "/subscriptions/default/resourceGroups/R%C3%89SEAU_%28PROD%29";
    let (status, same) = served.ask("GET", &format!("{upper}{network}?api-version=1"), "").await;
    assert_eq!((status, same["id"].as_str()), (200, Some(id.as_str())));
    let list = format!("{upper}/providers/Microsoft.Network/virtualNetworks?api-version=1");
    let (_, listed) = served.ask("GET", &list, "").await;
    assert_eq!(listed["value"].as_array().map(Vec::len), Some(1), "{listed}");
    let body = format!(r#"{{"principal":"uid:7","role":"Reader","scope":"{}"}}"#, id.to_uppercase());
    assert_eq!(served.ask("POST", "/v1/assignments", &body).await.0, 200);
    let view = served.state.control.view();
    let reader = Caller::user(7, "uid:7".to_owned());
    let read = |key: &Key| {
        let item = Item { kind: ItemKind::Vnet, key: key.clone() };
        view.rights(&reader).hold(&Right::on(&view.state.model, &item, Verb::Read))
    };
    let key = Key::new("r\u{e9}seau_(PROD)", "v");
    assert!(read(&key) && !read(&Key::new("R\u{e9}seau_(prod)", "w")) && !read(&Key::new("r\u{e9}seau", "v")));
    served.stop().await;
}

#[tokio::test]
async fn what_an_earlier_release_let_in_goes_on_for_those_who_may_read_it() {
    for (uid, expected) in [(0, 200), (1000, 400)] {
        let served = Served::to(uid);
        let mut items = Box::new(Model::default());
        items
            .groups
            .insert(Key::new("a b", "a b"), ResourceGroup { region: "westeurope".into(), ..Default::default() });
        let put = Put { items, create_only: false };
        served.state.control.apply(&testing::root(), put).expect("as an earlier release did");
        let group = "/subscriptions/default/resourceGroups/a%20b?api-version=2025-05-01";
        assert_eq!(served.ask("GET", group, "").await.0, expected);
        assert_eq!(served.ask("PATCH", group, r#"{"tags":{"a":"b"}}"#).await.0, expected);
        served.stop().await;
    }
}
