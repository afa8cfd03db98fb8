use super::*;
use crate::model::names::{self, *};
use crate::model::state::ControlState;
use crate::model::{Cloud, ConnectionState, DnsSettings, EndpointIp, Model, PrivateEndpoint, resource_types};
use crate::snapshot::dns::DnsPlan;
use crate::testing::{endpoint, ip, key, model, resource, target};

fn storage(subresource: &str) -> (Model, PrivateEndpoint) {
    let mut model = model();
    let mut account = resource("core", "10.20.99.8", vec![target(subresource, "", "10.20.0.5")]);
    account.kind = Some("Microsoft.Storage/storageAccounts".to_owned());
    model.resources.insert(key("Account"), account);
    let mut of_account = endpoint("spoke", Some("10.1.9.8"), "Account");
    of_account.subresource = subresource.to_owned();
    (model, of_account)
}

fn texts(names: &[Fqdn]) -> Vec<(&str, &str, &str)> {
    names.iter().map(|name| (&*name.public, name.host(), &*name.zone)).collect()
}

#[test]
fn a_typed_resource_has_the_names_of_azures_tables() {
    let (model, blob) = storage("blob");
    let zone = "privatelink.blob.core.windows.net";
    let host = "account.privatelink.blob.core.windows.net";
    assert_eq!(texts(&of_member(&model, &key("blob"), &blob, "")), [("account.blob.core.windows.net", host, zone)]);
    let (model, second) = storage("blob_secondary");
    let host = "account-secondary.privatelink.blob.core.windows.net";
    assert_eq!(
        texts(&of_member(&model, &key("second"), &second, "")),
        [("account-secondary.blob.core.windows.net", host, zone)]
    );
}

#[test]
fn the_region_is_filled_in_and_what_cannot_be_is_left_out() {
    assert_eq!(
        names::tables::zones(Cloud::Commercial, "Microsoft.Kusto/Clusters", "cluster", "westeurope")[0],
        ("westeurope.kusto.windows.net".to_owned(), "privatelink.westeurope.kusto.windows.net".to_owned())
    );
    for known in resource_types::all() {
        for subresource in &known.subresources {
            let all =
                Cloud::ALL.map(|cloud| names::tables::zones(cloud, known.name, subresource, "westeurope")).concat();
            assert!(all.iter().all(|(public, private)| !private.contains('{')
                && !public.contains('{')
                && !public.contains("privatelink")));
        }
    }
}

#[test]
fn each_cloud_has_names_of_its_own() {
    for (cloud, public, private) in [
        (Cloud::Commercial, "blob.core.windows.net", "privatelink.blob.core.windows.net"),
        (Cloud::Government, "blob.core.usgovcloudapi.net", "privatelink.blob.core.usgovcloudapi.net"),
        (Cloud::China, "blob.core.chinacloudapi.cn", "privatelink.blob.core.chinacloudapi.cn"),
    ] {
        let (mut model, blob) = storage("blob");
        model.cloud = cloud;
        let (public, host) = (format!("account.{public}"), format!("account.{private}"));
        assert_eq!(texts(&of_member(&model, &key("blob"), &blob, "")), [(&*public, &*host, private)], "{cloud}");
        // What resolvers answer.
        let dns = DnsSettings { listen: vec![ip("10.1.0.53")], ..DnsSettings::default() };
        model.vnets.get_mut(&key("spoke")).expect("there").dns = Some(dns);
        model.endpoints.insert(key("blob"), blob);
        let mut control_state = ControlState { model, ..ControlState::default() };
        control_state.connections.insert(key("blob"), crate::testing::connection(ConnectionState::Approved));
        let resolver = plan(&control_state, 1).resolvers.get("default/spoke").cloned().expect("a resolver");
        assert_eq!(&*resolver.names.get(&public).expect("a name").aliases[0].to, host, "{cloud}");
        assert_eq!(resolver.names.get(&host).expect("a name").owners[0].address, ip("10.1.9.8"), "{cloud}");
        assert!(resolver.zones.get(private).is_some(), "{cloud}");
    }
    // What a cloud does not offer has no names there.
    assert_eq!(names::tables::zones(Cloud::China, "Microsoft.Web/staticSites", "staticSites", "chinaeast"), []);
}

#[test]
fn a_given_name_lies_in_the_zone_of_its_type_or_is_its_own_zone() {
    let (mut model, blob) = storage("blob");
    let mut account = model.resources.get(&key("Account")).expect("the account").clone();
    account.targets[0].fqdns = vec!["Pictures.blob.core.windows.net.".into(), "files.example.com".into()];
    model.resources.insert(key("Account"), account);
    assert_eq!(
        texts(&of_member(&model, &key("blob"), &blob, "")),
        [
            (
                "pictures.blob.core.windows.net",
                "pictures.privatelink.blob.core.windows.net",
                "privatelink.blob.core.windows.net"
            ),
            ("files.example.com", "files.example.com", "files.example.com"),
        ]
    );
}

/// `spoke` and its peer ask; `other` is nobody's peer.
fn asked(state: ConnectionState) -> DnsPlan {
    let (mut model, blob) = storage("blob");
    let dns = |listen: &str| {
        let (listen, upstream) = (vec![ip(listen)], vec![]);
        Some(DnsSettings {
            listen,
            upstream,
            answer: vec![ConnectionState::Approved],
            ttl: crate::model::DNS_TTL,
            accept_names: None,
        })
    };
    let mut spoke = model.vnets.get(&key("spoke")).expect("spoke").clone();
    let mut hub = spoke.clone();
    let mut other = spoke.clone();
    (spoke.dns, hub.dns, other.dns) = (dns("10.1.255.254"), dns("10.3.255.254"), dns("10.4.255.254"));
    (spoke.peerings, hub.peerings, other.peerings) = (vec![key("hub")], vec![key("spoke")], vec![key("spoke")]);
    for (name, vnet) in [("spoke", spoke), ("hub", hub), ("other", other)] {
        model.vnets.insert(key(name), vnet);
    }
    let mut second = blob.clone();
    second.addresses = vec![EndpointIp { member: String::new(), ip: Some(ip("10.1.9.9")) }];
    model.endpoints.insert(key("first"), blob);
    model.endpoints.insert(key("second"), second);
    let mut control_state = ControlState { model, ..ControlState::default() };
    for name in ["first", "second"] {
        let connection = crate::testing::connection(if name == "first" { state } else { ConnectionState::Approved });
        control_state.connections.insert(key(name), connection);
    }
    plan(&control_state, (1 << 32) + 7)
}

#[test]
fn a_resolver_knows_the_endpoints_of_its_vnet_and_of_its_peers() {
    let plan = asked(ConnectionState::Pending);
    let host = "account.privatelink.blob.core.windows.net";
    for vnet in ["default/spoke", "default/hub"] {
        let resolver = &plan.resolvers[vnet];
        let alias = resolver.names.get("account.blob.core.windows.net").expect("known").aliases[0].clone();
        assert_eq!((&*alias.to, alias.claims), (host, 2), "{vnet}");
        let owners = &resolver.names.get(host).expect("known").owners;
        let seen: Vec<_> = owners.iter().map(|one| (&*one.endpoint, one.address, resolver.tells(one, false))).collect();
        assert_eq!(seen, [("default/first", ip("10.1.9.8"), false), ("default/second", ip("10.1.9.9"), true)]);
        assert_eq!(resolver.serial, 7);
    }
    assert!(plan.resolvers["default/other"].names.is_empty(), "the other VNet does not list it");
}

#[test]
fn an_account_of_many_services_is_called_the_same_in_each_zone_and_others_only_in_the_first() {
    let (mut model, mut account) = storage("account");
    let of_kind = |model: &mut Model, kind: &str| {
        let mut resource = model.resources.get(&key("Account")).expect("the account").clone();
        resource.kind = Some(kind.to_owned());
        model.resources.insert(key("Account"), resource);
    };
    of_kind(&mut model, "Microsoft.CognitiveServices/accounts");
    let names: Vec<String> =
        of_member(&model, &key("account"), &account, "").into_iter().map(|name| name.public).collect();
    assert_eq!(
        names,
        ["account.cognitiveservices.azure.com", "account.openai.azure.com", "account.services.ai.azure.com"]
    );
    of_kind(&mut model, "Microsoft.Kusto/Clusters");
    account.subresource = "cluster".into();
    let mut cluster = model.resources.get(&key("Account")).expect("the account").clone();
    cluster.targets[0].subresource = "cluster".into();
    model.resources.insert(key("Account"), cluster);
    let names: Vec<String> =
        of_member(&model, &key("account"), &account, "").into_iter().map(|name| name.public).collect();
    assert_eq!(names, ["account.westeurope.kusto.windows.net"], "and not account.blob.core.windows.net");
}
