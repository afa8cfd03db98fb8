//! Parts of objects: probes of single rules, what a load balancer stands in, and words that change nothing.

use super::*;

const LB: &str = "N/loadBalancers/lb1";

fn lb(rest: &str) -> Value {
    json!({ "id": format!("{N}/loadBalancers/lb1/{rest}") })
}

/// A load balancer whose rules have the probes that `probed` names, at ports from 443 on.
fn probed(probed: &[Option<&str>]) -> Value {
    let mut body = balancer(10000);
    let probe = |(name, port): (&str, u16)| {
        let properties = json!({ "protocol": "Tcp", "port": port, "intervalInSeconds": 5, "numberOfProbes": 2 });
        json!({ "name": name, "properties": properties })
    };
    body["properties"]["probes"] = [("web", 8080), ("admin", 8443)].map(probe).into_iter().collect();
    let rule = body["properties"]["loadBalancingRules"][0].clone();
    let rules = (443_u16..).zip(probed).map(|(port, probe)| {
        let mut rule = rule.clone();
        rule["name"] = json!(format!("r{port}"));
        rule["properties"]["frontendPort"] = json!(port);
        if let Some(name) = probe {
            rule["properties"]["probe"] = lb(&format!("probes/{name}"));
        }
        rule
    });
    body["properties"]["loadBalancingRules"] = rules.collect();
    body
}

#[tokio::test]
async fn each_rule_of_a_load_balancer_has_its_own_probe() {
    let served = Served::to(0);
    served.furnish().await;
    let target = async || {
        let (_, service) = served.get("N/privateLinkServices/pls1").await;
        service["properties"]["privlink"]["targets"][0].clone()
    };
    let shown = served.made(LB, probed(&[Some("web"), Some("ADMIN"), None])).await;
    assert_eq!(served.put(LB, shown.clone()).await, (200, shown), "what was read is no change");
    let of = |port: u16| json!([{ "protocol": "tcp", "port": port }]);
    let found = target().await;
    assert_eq!(found["health"], Value::Null, "the third rule is not checked");
    let checks = found["portHealth"].as_array().unwrap();
    let told: Vec<_> = checks.iter().map(|one| (&one["probe"], &one["ports"], &one["health"]["port"])).collect();
    assert_eq!(told, [(&json!("web"), &of(443), &json!(8080)), (&json!("admin"), &of(444), &json!(8443))]);
    // Of a service that is read and changed the checks stay.
    let (_, mut service) = served.get("N/privateLinkServices/pls1").await;
    service["tags"] = json!({ "a": "b" });
    served.made("N/privateLinkServices/pls1", service).await;
    assert_eq!(target().await["portHealth"], found["portHealth"]);
    served.made(LB, probed(&[Some("web"), Some("web")])).await;
    let found = target().await;
    assert_eq!((&found["health"]["port"], found.get("portHealth")), (&json!(8080), None));
    // One port has one rule, whatever its probe.
    let mut twice = probed(&[Some("web"), Some("admin")]);
    twice["properties"]["loadBalancingRules"][1]["properties"]["frontendPort"] = json!(443);
    let (status, error) = served.put(LB, twice).await;
    assert!(status == 400 && error.to_string().contains("one frontend port"), "{error:#}");
    // Nobody writes them into the service itself.
    let (_, mut own) = served.get("N/privateLinkServices/pls1").await;
    own["properties"]["loadBalancerFrontendIpConfigurations"] = json!([]);
    own["properties"]["privlink"]["targets"] = json!([{ "backends": ["10.1.2.21"], "portHealth": [
        { "probe": "x", "ports": [], "health": { "port": 1 } }], "ports": [{ "protocol": "tcp", "port": 443 }] }]);
    let (status, error) = served.put("N/privateLinkServices/pls1", own).await;
    assert!(status == 400 && error.to_string().contains("portHealth"), "{error:#}");
    served.stop().await;
}

#[tokio::test]
async fn a_load_balancer_holds_the_subnet_and_the_vnet_that_it_is_in() {
    let served = Served::to(0);
    served.furnish().await;
    let net = |name: &str| format!("N/virtualNetworks/{name}");
    let space = json!({ "addressPrefixes": ["10.2.0.0/16"] });
    let subnets = json!([{ "name": "fe", "properties": { "addressPrefix": "10.2.1.0/24" } }, { "name": "other", "properties": { "addressPrefix": "10.2.2.0/24" } }]);
    let body = json!({ "location": "westeurope", "properties": { "addressSpace": space, "subnets": subnets } });
    served.made(&net("vnet2"), body.clone()).await;
    let frontend = |vnet: &str, subnet: &str| {
        let id = format!("{N}/virtualNetworks/{vnet}/subnets/{subnet}");
        json!({ "location": "westeurope", "properties": { "frontendIPConfigurations": [{ "name": "fe", "properties": { "subnet": { "id": id } } }] } })
    };
    for (vnet, subnet) in [("none", "fe"), ("vnet2", "none")] {
        let (status, error) = served.put("N/loadBalancers/lb2", frontend(vnet, subnet)).await;
        assert_eq!((status, &error["error"]["code"]), (400, &json!("InvalidResourceReference")), "{error:#}");
    }
    let made = served.made("N/loadBalancers/lb2", frontend("VNET2", "FE")).await;
    let (status, error) = served.ask("DELETE", &at(&format!("{}/subnets/fe", net("vnet2"))), "").await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("InUseSubnetCannotBeDeleted")), "{error:#}");
    assert!(error.to_string().contains("lb2"), "{error:#}");
    let mut without = body.clone();
    without["properties"]["subnets"].as_array_mut().unwrap().remove(0);
    assert_eq!(served.put(&net("vnet2"), without).await.0, 400, "nor by leaving it out");
    assert_eq!(served.gone(&format!("{}/subnets/other", net("vnet2"))).await, 200);
    let (status, error) = served.ask("DELETE", &at(&net("vnet2")), "").await;
    assert!(status == 409 && error.to_string().contains("lb2"), "{status} {error:#}");
    assert_eq!(served.put("N/loadBalancers/lb2", made.clone()).await, (200, made));
    assert_eq!(served.gone("N/loadBalancers/lb2").await, 200);
    assert_eq!(served.gone(&net("vnet2")).await, 200);
    served.stop().await;
}

#[tokio::test]
async fn words_without_effect_are_kept_where_they_were_written() {
    let served = Served::to(0);
    served.furnish().await;
    let listed = |shown: &Value| shown["properties"]["privlink"]["storedOnly"].to_string();
    let again = async |path: &str, shown: &Value| {
        assert_eq!(served.get(path).await.1, *shown, "{path}");
        assert_eq!(served.put(path, shown.clone()).await, (200, shown.clone()), "{path}");
    };
    // Which address is the primary one.
    let subnet = json!({ "id": format!("{N}/virtualNetworks/vnet1/subnets/pls") });
    let config =
        |name: &str, primary: bool| json!({ "name": name, "properties": { "subnet": subnet, "primary": primary } });
    let path = "N/privateLinkServices/pls1";
    let mut body = service();
    body["properties"]["ipConfigurations"] = json!([config("nat", true), config("two", false)]);
    let shown = served.made(path, body.clone()).await;
    assert!(!listed(&shown).contains("primary"), "{shown:#}");
    body["properties"]["ipConfigurations"] = json!([config("nat", false), config("two", true)]);
    let shown = served.made(path, body).await;
    let primary = |at: usize| shown["properties"]["ipConfigurations"][at]["properties"]["primary"].clone();
    assert_eq!((primary(0), primary(1)), (json!(false), json!(true)));
    for name in ["ipConfigurations.nat.primary", "ipConfigurations.two.primary"] {
        assert!(listed(&shown).contains(name), "{shown:#}");
    }
    again(path, &shown).await;
    // What a delegation is called.
    let path = "N/virtualNetworks/vnet1/subnets/web";
    let delegated = |name: &str| {
        let delegations = json!([{ "name": name, "properties": { "serviceName": "Microsoft.Web/serverFarms" } }]);
        json!({ "properties": { "addressPrefix": "10.1.7.0/24", "delegations": delegations } })
    };
    let shown = served.made(path, delegated("farm")).await;
    assert_eq!(shown["properties"]["delegations"][0]["name"], "farm");
    assert!(listed(&shown).contains("delegations.microsoft.web/serverfarms.name"), "{shown:#}");
    again(path, &shown).await;
    let (_, whole) = served.get("N/virtualNetworks/vnet1").await;
    assert!(whole.to_string().contains("\"farm\""), "{whole:#}");
    again("N/virtualNetworks/vnet1", &whole).await;
    let shown = served.made(path, delegated("Microsoft.Web/serverFarms")).await;
    assert!(!listed(&shown).contains("delegations"), "{shown:#}");
    served.made(path, delegated("farm")).await;
    let shown = served.made(path, json!({ "properties": { "addressPrefix": "10.1.7.0/24" } })).await;
    assert!(!listed(&shown).contains("delegations"), "what is gone is not listed: {shown:#}");
    // Who manages a group.
    let group = "/subscriptions/s/resourceGroups/shop";
    let by = |name: &str| json!({ "location": "westeurope", "managedBy": format!("/subscriptions/s/{name}") });
    let shown = served.made(group, by("one")).await;
    assert_eq!(shown["managedBy"], "/subscriptions/s/one");
    assert!(listed(&shown).contains("managedBy"), "{shown:#}");
    again(group, &shown).await;
    let (status, shown) = served.ask("PATCH", &at(group), r#"{"managedBy":"/subscriptions/s/two"}"#).await;
    assert_eq!((status, &shown["managedBy"]), (200, &json!("/subscriptions/s/two")));
    let shown = served.made(group, json!({ "location": "westeurope", "secret": "hidden" })).await;
    assert!(listed(&shown).contains("secret: not known") && !shown.to_string().contains("hidden"), "{shown:#}");
    served.stop().await;
}
