//! What is asked: of each route each method, about what is unseen, and about the tenant's own beside it.

use serde_json::json;

use super::*;
use crate::api::arm::ROUTES;

/// A request.
#[derive(Clone, Debug)]
pub(in super::super) struct Asked {
    pub(in super::super) method: &'static str,
    pub(in super::super) path: String,
    pub(in super::super) body: String,
}

impl Asked {
    pub(in super::super) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: String::new() }
    }

    #[allow(clippy::needless_pass_by_value, reason = "a value made for the call, or a text")]
    fn with(method: &'static str, path: impl Into<String>, body: impl ToString) -> Self {
        Self { method, path: path.into(), body: body.to_string() }
    }
}

/// The word for a method.
pub(super) fn method(method: &Method) -> &'static str {
    let all = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    all.into_iter().find(|name| *name == method.as_str()).expect("a known method")
}

/// Every request.
pub(super) fn all() -> Vec<Asked> {
    let mut all = of_v1();
    all.extend(of_arm());
    let heads = all.iter().filter(|asked| asked.method == "GET").map(|asked| Asked { method: "HEAD", ..asked.clone() });
    let heads: Vec<Asked> = heads.collect();
    all.extend(heads);
    all
}

/// Requests of `/v1` and of operations.
pub(super) fn of_v1() -> Vec<Asked> {
    let mut all: Vec<Asked> = [
        "status", "flows", "flows?limit=3", "who?nat=10.66.99.4:1024", "endpoints", "connections",
        "connections?pending=true", "resources", "nics", "groups", "vnets", "dns-zones", "lint", "security-groups", "epoch",
        "roles", "assignments", "tokens", "usage", "export", "whoami", "audit", "audit/verify", "audit/export?from=1", "ca",
        "explain?vnet=hush-net&source=10.66.2.2&destination=10.66.1.7&port=443&protocol=tcp",
        "explain?vnet=spoke&source=10.1.2.2&destination=10.66.1.7&port=443&protocol=tcp",
        "flows?endpoint=hush-pe", "lint?vnet=hush-net", "roles/nothing", "roles/tenant",
        "access/why?principal=uid:1001&action=Microsoft.Network/virtualNetworks/read&scope=/subscriptions/default/resourceGroups/hush",
        "access/why?principal=uid:7777&action=Microsoft.Network/virtualNetworks/read&scope=/subscriptions/default/resourceGroups/hush",
        "assignments/00000000-0000-8000-8000-000000000000",
    ]
    .into_iter()
    .map(|path| Asked::get(format!("/v1/{path}")))
    .collect();
    let open = ["/metrics", "/healthz", "/readyz", "/openapi.json", "/version", "/metadata/endpoints"];
    all.extend(open.map(Asked::get));
    let reason = json!({ "reason": "x" });
    for group in ["", "hush%2F", "default%2Fhush%2F", "mine%2F"] {
        let at = |path: &str, name: &str, rest: &str| format!("/v1/{path}/{group}{name}{rest}");
        for (path, name) in [
            ("endpoints", "hush-pe"),
            ("connections", "hush-pe"),
            ("resources", "hush-pls"),
            ("resources", "hushaccount"),
            ("vnets", "hush-net"),
            ("security-groups", "hush-sg"),
            ("dns-zones", "hush.internal"),
        ] {
            all.push(Asked::get(at(path, name, "")));
        }
        all.push(Asked::get(at("nics", "hush-pe", "")));
        all.push(Asked::get(at("vnets", "hush-net", "/dns")));
        all.push(Asked::get(at("vnets", "hush-net", "/diagnosis?name=hush-pe.hush.internal")));
        all.push(Asked::get(at("vnets", "hush-net", "/dns/explain?name=hush-pe.hush.internal")));
        for verb in ["approve", "reject", "remove"] {
            all.push(Asked::with("POST", at("connections", "hush-pe", &format!("/{verb}")), &reason));
        }
        for name in ["hush-pls", "hushaccount"] {
            for verb in ["approve", "reject"] {
                let dry = json!({ "dryRun": true });
                all.push(Asked::with("POST", at("resources", name, &format!("/connections/{verb}")), &dry));
                all.push(Asked::with("POST", at("resources", name, &format!("/connections/{verb}")), &reason));
            }
        }
        all.push(Asked::with(
            "POST",
            at("endpoints", "hush-pe", "/accept-names"),
            json!({ "names": ["a.example.com"] }),
        ));
        for (path, name) in [
            ("endpoints", "hush-pe"),
            ("resources", "hush-pls"),
            ("resources", "hushaccount"),
            ("vnets", "hush-net"),
            ("security-groups", "hush-sg"),
        ] {
            all.push(Asked::with("DELETE", at(path, name, ""), ""));
        }
    }
    for named in [json!({ "vnet": "hush-net" }), json!({ "vnet": "hush/hush-net", "dryRun": true })] {
        all.push(Asked::with("POST", "/v1/resources/mine%2Fmine-pls/connections/reject", named));
    }
    for resource in ["hush-pls", "hush/hushaccount"] {
        let named = json!({ "resource": resource, "reason": "x" });
        all.push(Asked::with("POST", "/v1/connections/mine%2Fmine-pe/approve", named));
    }
    let mine = "/subscriptions/default/resourceGroups/mine";
    let hush = "/subscriptions/default/resourceGroups/hush";
    for (method, path, body) in [
        ("POST", "roles", json!({ "name": "r", "actions": ["*/read"], "assignableScopes": [hush] })),
        ("POST", "roles", json!({ "name": "r", "actions": ["*/read"], "assignableScopes": [mine] })),
        ("POST", "assignments", json!({ "principal": "uid:7777", "role": "Reader", "scope": hush })),
        ("POST", "assignments", json!({ "principal": "uid:7777", "role": "Reader", "scope": mine })),
        ("POST", "tokens", json!({ "name": "hush-token", "lifetimeSeconds": 60 })),
        ("POST", "tokens/hush-token/rotate", json!(null)),
        ("DELETE", "tokens/hush-token", json!(null)),
        ("DELETE", "roles/tenant", json!(null)),
        ("DELETE", "assignments/00000000-0000-8000-8000-000000000000", json!(null)),
        ("POST", "backup", json!(null)),
        ("POST", "reload", json!(null)),
    ] {
        all.push(Asked::with(
            method,
            format!("/v1/{path}"),
            if body.is_null() { String::new() } else { body.to_string() },
        ));
    }
    all.push(Asked::with("DELETE", format!("/v1/assignments/{}", secret_assignment()), ""));
    all.push(Asked::get(format!("/v1/assignments/{}", secret_assignment())));
    all.extend(documents());
    all
}

/// Everything that can be read of the objects of `groups`, and of all there is.
pub(super) fn looks(groups: &[&str]) -> Vec<Asked> {
    let lists = [
        "status",
        "endpoints",
        "connections",
        "connections?pending=true",
        "resources",
        "nics",
        "groups",
        "vnets",
        "dns-zones",
        "lint",
        "security-groups",
        "roles",
        "assignments",
        "usage",
    ];
    let mut all: Vec<Asked> = lists.into_iter().map(|path| Asked::get(format!("/v1/{path}"))).collect();
    all.push(Asked::get("/metrics"));
    for group in groups {
        let own = [
            format!("endpoints/{group}-pe"),
            format!("connections/{group}-pe"),
            format!("resources/{group}-pls"),
            format!("resources/{group}account"),
            format!("vnets/{group}-net"),
            format!("security-groups/{group}-sg"),
            format!("dns-zones/{group}.internal"),
            format!("vnets/{group}-net/dns"),
            format!("flows?endpoint={group}-pe"),
            format!("vnets/{group}-net/diagnosis?name={group}-pe.{group}.internal"),
            format!("lint?vnet={group}-net"),
        ];
        all.extend(own.iter().map(|path| Asked::get(format!("/v1/{path}"))));
        for route in ROUTES {
            let path = filled(route.template, group, group).replace("hush", group);
            all.push(Asked::get(format!("{path}?api-version=1")));
            all.push(Asked::get(format!("{path}?api-version=1&%24expand=networkInterfaces")));
        }
    }
    all
}

fn secret_assignment() -> String {
    things::secret().assignments.keys().next().expect("one").name.clone()
}

/// Documents that guess at what is unseen, and documents of the tenant's own that refer to it.
fn documents() -> Vec<Asked> {
    let hush = |rest: &str| Key::new("hush", format!("hush{rest}"));
    let mut models = vec![things::secret()];
    let (own, secret) = (things::own(), things::secret());
    let alone = |change: &dyn Fn(&mut Model)| {
        let mut model = Model::default();
        change(&mut model);
        model
    };
    for (key, one) in &secret.vnets {
        models.push(alone(&|model| model.vnets.insert(key.clone(), one.clone())));
    }
    for (key, one) in &secret.resources {
        models.push(alone(&|model| model.resources.insert(key.clone(), one.clone())));
    }
    for (key, one) in &secret.endpoints {
        models.push(alone(&|model| model.endpoints.insert(key.clone(), one.clone())));
    }
    for (key, one) in &secret.assignments {
        models.push(alone(&|model| model.assignments.insert(key.clone(), one.clone())));
    }
    let name = |name: &str| Key::new("mine", name);
    for (key, one) in &own.endpoints {
        for (vnet, resource) in [
            (one.vnet.clone(), hush("-pls")),
            (one.vnet.clone(), hush("account")),
            (hush("-net"), one.resource.clone()),
        ] {
            let mut made = one.clone();
            made.addresses.clear();
            made.zone_group = None;
            made.manual = true;
            if vnet != one.vnet {
                made.subnet = "hush-sub".into();
            }
            (made.vnet, made.resource) = (vnet, resource);
            models.push(alone(&|model| model.endpoints.insert(name("new-pe"), made.clone())));
        }
        let zones = Some(Box::new(crate::model::ZoneGroup::of([hush(".internal")])));
        models.push(alone(&|model| {
            let made = crate::model::PrivateEndpoint { zone_group: zones.clone(), ..one.clone() };
            model.endpoints.insert(key.clone(), made);
        }));
    }
    for (key, one) in &own.vnets {
        let mut peered = one.clone();
        peered.peerings.push(hush("-net"));
        models.push(alone(&|model| model.vnets.insert(key.clone(), peered.clone())));
        let mut grouped = one.clone();
        grouped.subnets[0].security_group = Some(hush("-sg"));
        models.push(alone(&|model| model.vnets.insert(key.clone(), grouped.clone())));
    }
    for (key, one) in own.resources.iter().filter(|(_, one)| one.kind.is_none()) {
        let mut moved = one.clone();
        (moved.vnet, moved.nat) = (Some(hush("-net")), vec![testing::ip("10.66.99.4")]);
        models.push(alone(&|model| model.resources.insert(name("new-pls"), moved.clone())));
        moved.nat = vec![testing::ip("10.66.99.9")];
        models.push(alone(&|model| model.resources.insert(key.clone(), moved.clone())));
        let mut behind = one.clone();
        let frontend = "fe".to_owned();
        behind.frontends = vec![crate::model::FrontendRef { balancer: hush("-lb"), frontend }];
        models.push(alone(&|model| model.resources.insert(key.clone(), behind.clone())));
    }
    let sent = models.into_iter().flat_map(|model| {
        let text = serde_json::to_string(&model).expect("JSON");
        [(true, false), (true, true), (false, true), (false, false)].map(|(dry_run, create_only)| {
            let body = json!({ "name": "d", "document": text, "dryRun": dry_run, "createOnly": create_only });
            Asked::with("POST", "/v1/apply", body)
        })
    });
    sent.collect()
}

/// Requests of Azure's routes, from the table that they are matched against.
fn of_arm() -> Vec<Asked> {
    let mut all = Vec::new();
    for route in ROUTES {
        for (group, prefix) in [("hush", "hush"), ("mine", "hush"), ("mine", "mine")] {
            let path = filled(route.template, group, prefix);
            for operation in route.operations {
                // What is the tenant's own stays for the next question.
                if prefix == "mine" && operation.method == "DELETE" {
                    continue;
                }
                let path = format!("{path}?api-version=2026-03-01");
                let bodies = bodies(route.template, operation.method);
                assert!(!bodies.is_empty(), "no body for {} {}", operation.method, route.template);
                all.extend(bodies.into_iter().map(|body| Asked::with(operation.method, path.clone(), body)));
            }
            all.push(Asked::get(format!("{path}?api-version=1&%24top=1")));
        }
    }
    all
}

pub(super) fn filled(template: &str, group: &str, prefix: &str) -> String {
    let mut before = "";
    let mut parts = Vec::new();
    for part in template.split('/') {
        parts.push(match part {
            "{subscription}" | "{zones}" => "default".to_owned(),
            "{group}" => group.to_owned(),
            "{provider}" => "Microsoft.Storage".to_owned(),
            "{type}" => "storageAccounts".to_owned(),
            "{location}" => "westeurope".to_owned(),
            "{subnet}" => "hush-sub".to_owned(),
            "{peering}" => "hush-peering".to_owned(),
            "{link}" => "hush-link".to_owned(),
            "{record}" => "A".to_owned(),
            "{relative}" => "hush-www".to_owned(),
            "{connection}" => "hush-pe".to_owned(),
            "{subresource}" => "blob".to_owned(),
            "{name}" => match before {
                "virtualNetworks" => format!("{prefix}-net"),
                "loadBalancers" => format!("{prefix}-lb"),
                "privateLinkServices" => format!("{prefix}-pls"),
                "privateEndpoints" => format!("{prefix}-pe"),
                "networkInterfaces" => nic(prefix),
                "privateDnsZones" => format!("{prefix}.internal"),
                // Whether the name of an account is taken is told by design.
                _ if group != prefix => "freeaccount".to_owned(),
                _ => format!("{prefix}account"),
            },
            other => other.to_owned(),
        });
        before = part;
    }
    parts.join("/")
}

fn nic(prefix: &str) -> String {
    let items = things::each(prefix, 66);
    let (key, endpoint) = items.endpoints.iter().next().expect("one");
    crate::model::ids::network_interface(key, endpoint).name().to_owned()
}

const HUSH: &str = "/subscriptions/default/resourceGroups/hush/providers/Microsoft.Network";
const MINE: &str = "/subscriptions/default/resourceGroups/mine/providers/Microsoft.Network";

/// What is sent to a route: each body names something unseen.
#[allow(clippy::too_many_lines, reason = "a table: one row for each kind of object")]
fn bodies(template: &str, method: &str) -> Vec<String> {
    let subnets = [
        format!("{HUSH}/virtualNetworks/hush-net/subnets/hush-sub"),
        format!("{HUSH}/virtualNetworks/hush-net/subnets/none"),
    ];
    let own = format!("{MINE}/virtualNetworks/mine-net/subnets/mine-sub");
    let remote =
        json!({ "properties": { "remoteVirtualNetwork": { "id": format!("{HUSH}/virtualNetworks/hush-net") } } });
    let here = |properties: Value| json!({ "location": "westeurope", "properties": properties });
    let last = template.rsplit('/').find(|part| !part.starts_with('{')).unwrap_or_default();
    if matches!(method, "GET" | "HEAD" | "DELETE") {
        return vec![String::new()];
    }
    if method == "PATCH" && !matches!(last, "virtualNetworkLinks" | "privateDnsZones") {
        return vec![json!({ "tags": { "a": "b" } }).to_string()];
    }
    let values: Vec<Value> = match last {
        _ if template.ends_with("{relative}") => {
            vec![json!({ "properties": { "ttl": 5, "aRecords": [{ "ipv4Address": "10.9.2.2" }] } })]
        }
        "checkPrivateLinkServiceVisibility" => {
            let alias = crate::model::ids::alias(&Key::new("hush", "hush-pls"), &things::secret().resources[&Key::new("hush", "hush-pls")]);
            let named = |text: Value| json!({ "privateLinkServiceAlias": text });
            vec![named(json!(format!("{HUSH}/privateLinkServices/hush-pls"))), named(json!(alias))]
        }
        "resourceGroups" | "networkInterfaces" => vec![json!({ "location": "westeurope" })],
        "virtualNetworks" => {
            let space = json!({ "addressPrefixes": ["10.8.0.0/16"] });
            let mut peering = remote.clone();
            peering["name"] = json!("p");
            let group = json!({ "id": format!("{HUSH}/networkSecurityGroups/hush-sg") });
            let sub = |more: Value| json!([{ "name": "mine-sub", "properties": more }]);
            let subnet = sub(json!({ "addressPrefix": "10.8.1.0/24", "networkSecurityGroup": group }));
            vec![
                here(json!({ "addressSpace": space, "virtualNetworkPeerings": [peering] })),
                here(json!({ "addressSpace": space, "subnets": subnet })),
                here(json!({ "addressSpace": { "addressPrefixes": ["10.9.0.0/16"] }, "subnets": [] })),
            ]
        }
        "subnets" => {
            let group = json!({ "id": format!("{HUSH}/networkSecurityGroups/hush-sg") });
            vec![json!({ "properties": { "addressPrefix": "10.8.77.0/24", "networkSecurityGroup": group } })]
        }
        "virtualNetworkPeerings" => vec![remote],
        "loadBalancers" => {
            let frontend = |subnet: &str| json!([{ "name": "fe", "properties": { "subnet": { "id": subnet } } }]);
            let vnet = json!({ "id": format!("{HUSH}/virtualNetworks/hush-net") });
            let server = json!({ "name": "b", "properties": { "ipAddress": "10.66.99.10", "virtualNetwork": vnet } });
            let pools = json!([{ "name": "be", "properties": { "loadBalancerBackendAddresses": [server] } }]);
            let mut all: Vec<Value> = subnets.iter().map(|one| here(json!({ "frontendIPConfigurations": frontend(one) }))).collect();
            all.push(here(json!({ "backendAddressPools": pools })));
            all
        }
        "privateLinkServices" => {
            let config = |subnet: &str| json!([{ "name": "nat", "properties": { "subnet": { "id": subnet } } }]);
            let frontend = json!([{ "id": format!("{HUSH}/loadBalancers/hush-lb/frontendIPConfigurations/fe") }]);
            let nat = format!("{MINE}/virtualNetworks/mine-net/subnets/mine-nat");
            let mut all = vec![here(json!({ "ipConfigurations": config(&nat), "loadBalancerFrontendIpConfigurations": frontend }))];
            all.extend(subnets.iter().map(|one| here(json!({ "ipConfigurations": config(one), "destinationIPAddress": "10.66.99.10" }))));
            all.push(here(json!({ "privlink": { "vnet": format!("{HUSH}/virtualNetworks/hush-net"), "nat": ["10.66.99.4"],
                "targets": [{ "backends": ["10.66.99.10"], "ports": [{ "protocol": "tcp", "port": 1 }] }] } })));
            all
        }
        "privateEndpointConnections" => ["Approved", "Rejected"]
            .map(|status| json!({ "properties": { "privateLinkServiceConnectionState": { "status": status } } }))
            .to_vec(),
        "privateDnsZoneGroups" => [format!("{HUSH}/privateDnsZones/hush.internal"), format!("{HUSH}/privateDnsZones/none.internal")]
            .map(|zone| json!({ "properties": { "privateDnsZoneConfigs": [{ "name": "z", "properties": { "privateDnsZoneId": zone } }] } }))
            .to_vec(),
        "privateEndpoints" => {
            let to = |list: &str, subnet: &str, service: &str| {
                here(json!({ "subnet": { "id": subnet }, list: [{ "name": "c", "properties": { "privateLinkServiceId": service } }] }))
            };
            let services = [
                format!("{HUSH}/privateLinkServices/hush-pls"),
                "/subscriptions/default/resourceGroups/hush/providers/Microsoft.Storage/storageAccounts/hushaccount".to_owned(),
                format!("{MINE}/privateLinkServices/mine-pls"),
            ];
            let lists = ["privateLinkServiceConnections", "manualPrivateLinkServiceConnections"];
            let mut all = Vec::new();
            for list in lists {
                for service in &services {
                    all.extend(subnets.iter().chain([&own]).map(|subnet| to(list, subnet, service)));
                }
            }
            all
        }
        "privateDnsZones" => vec![json!({ "location": "global" })],
        "virtualNetworkLinks" => {
            vec![json!({ "location": "global", "properties": { "virtualNetwork": { "id": format!("{HUSH}/virtualNetworks/hush-net") } } })]
        }
        "" | "providers" => {
            let vnet = format!("{HUSH}/virtualNetworks/hush-net");
            let target = json!({ "subresource": "blob", "backends": ["10.66.99.11"], "ports": [{ "protocol": "tcp", "port": 1 }] });
            vec![
                here(json!({ "privlink": { "vnet": vnet, "nat": ["10.66.99.5"], "targets": [target] } })),
                here(json!({})),
            ]
        }
        _ => Vec::new(),
    };
    values.iter().map(ToString::to_string).collect()
}
