//! Rows of mistakes with what each must say and where, and files that must pass.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use std::time::Duration;

/// The way back to a file.
mod export;

/// What rules tell of others.
mod told;

use crate::model::{AuditLimits, Cloud, DenyMode, FlowLog, Key, Limits, OnExit, Protocol, Quota, Quotas};

const BASE: &str = include_str!("tests/base.toml");

/// Rows: `#` a title, `-`/`+` what is replaced by what (`+` alone: appended), `=` a line of the report.
const MISTAKES: &str = include_str!("tests/mistakes.txt");

fn said(text: &str) -> Vec<String> {
    let problems = match parse(text, "f") {
        Ok(loaded) => loaded.warnings,
        Err(report) => report.problems,
    };
    let line = |problem: &Problem| {
        let Problem { line, column, severity, message, remedy, .. } = problem;
        let (line, column) = (line.expect("has a line"), column.expect("has a column"));
        format!("{line}:{column}: {severity}: {message} -> {remedy}")
    };
    problems.iter().map(line).collect()
}

fn changed(row: &str) -> String {
    let mut text = BASE.to_owned();
    let mut old = None;
    for line in row.lines() {
        let unescaped = |line: &str| line.replace("\\n", "\n");
        match line.split_at_checked(2) {
            Some(("- ", line)) => old = Some(unescaped(line)),
            Some(("+ ", line)) => match old.take() {
                Some(old) => {
                    assert!(text.contains(&old), "`{old}` is not in the base file");
                    text = text.replacen(&old, &unescaped(line), 1);
                }
                None => text = format!("{text}\n{}\n", unescaped(line)),
            },
            _ => {}
        }
    }
    text
}

#[test]
fn every_mistake_is_said_with_its_place_and_remedy() {
    let mut wrong = Vec::new();
    for row in MISTAKES.split("\n\n") {
        let expected: Vec<&str> = row.lines().filter_map(|line| line.strip_prefix("= ")).collect();
        let said = said(&changed(row));
        if said != expected {
            let head: Vec<&str> = row.lines().filter(|line| !line.starts_with("= ")).collect();
            let lines: Vec<String> = said.iter().map(|line| format!("= {line}")).collect();
            wrong.push(format!("{}\n{}\n", head.join("\n"), lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "these rows say:\n\n{}", wrong.join("\n"));
}

/// The smallest set-up that works.
const SMALLEST: &str = include_str!("tests/smallest.toml");

#[test]
fn the_template_has_neither_error_nor_warning() {
    let loaded = parse(template(), "privlink.toml").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings, vec![]);
    assert_eq!((loaded.model.vnets.len(), loaded.model.endpoints.len(), loaded.host.attachments.len()), (2, 2, 2));
}

#[test]
fn what_the_template_comments_out_works_too() {
    let text: String = template()
        .lines()
        .filter(|line| !line.starts_with("# proxy_on") && !line.starts_with("# device"))
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let loaded = parse(&text, "privlink.toml").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!((loaded.host.workers, loaded.host.deny_rate), (Some(4), 1000));
}

#[test]
fn the_smallest_set_up_warns_of_nothing() {
    let loaded = parse(SMALLEST, "f").unwrap_or_else(|report| panic!("{report}"));
    let messages: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(messages.is_empty(), "{messages:?}");
    let orders = &loaded.model.endpoints[&Key::new("default", "ORDERS")];
    assert_eq!(orders.addresses[0].ip, Some("10.1.9.4".parse().expect("literal")));
    assert_eq!(orders.resource, Key::new("default", "orders-db"));
    let account = &loaded.model.resources[&Key::new("default", "acct")];
    let port = account.targets[0].ports[0];
    assert_eq!((port.protocol, port.first, port.last, port.backend_first), (Protocol::Tcp, 443, 443, 10000));
    assert_eq!(account.region, "westeurope");
    assert_eq!(loaded.host.attachments[1].device, "pl-core");
}

#[test]
fn what_the_file_leaves_out_has_its_default() {
    let text = BASE.replace("[daemon]\nmetrics = \"127.0.0.1:9464\"\n", "");
    let Loaded { host, model, .. } = parse(&text, "f").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(host.state, Path::new("/var/lib/privlink"));
    assert_eq!(host.socket, Path::new("/run/privlink/privlink.sock"));
    assert_eq!((host.metrics, host.workers, host.offload), (None, None, true));
    assert_eq!((host.max_sessions, host.deny, host.deny_rate), (1_048_576, DenyMode::Answer, 1_000));
    assert_eq!((host.on_exit, host.attachments[0].mtu), (OnExit::Block, 1_500));
    let (key, endpoint) = model.endpoints.entry(&Key::new("default", "orders")).unwrap();
    assert_eq!((endpoint.region.as_str(), key.subscription.as_str()), ("westeurope", "default"));
}

#[test]
fn one_subresource_and_one_member_need_not_be_named() {
    let text = format!(
        "{BASE}\n[[resource]]\ntype = \"Own.Thing/things\"\nname = \"one\"\nvnet = \"core\"\nnat = \"10.20.99.9\"\n\
         targets = [{{ subresource = \"s\", member = \"m\", backends = \"10.20.0.20\", \
         ports = [{{ protocol = \"udp\", port = \"53-54\", backend_port = 5353 }}, {{ protocol = \"icmp\" }}] }}]\n\
         [[endpoint]]\nname = \"e\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"\nip = \"10.1.9.40\"\nresource = \"default/one\"\n"
    );
    let loaded = parse(&text, "f").unwrap_or_else(|report| panic!("{report}"));
    let endpoint = &loaded.model.endpoints[&Key::new("default", "e")];
    assert_eq!((endpoint.subresource.as_str(), endpoint.addresses[0].member.as_str()), ("s", "m"));
    let target = &loaded.model.resources[&Key::new("default", "one")].targets[0];
    assert_eq!((target.ports[0].first, target.ports[0].last, target.ports[0].backend_first), (53, 54, 5353));
    assert!(target.icmp);
}

#[test]
fn the_short_form_means_one_target_with_one_backend() {
    let long =
        "targets = [{ backends = [\"10.20.0.2\", \"10.20.0.3\"], ports = [{ protocol = \"tcp\", port = 5432 }] }]";
    let one = "targets = [{ backends = \"10.20.0.2\", ports = [{ protocol = \"tcp\", port = 5432 }] }]";
    let short = "destination = \"10.20.0.2\"\nports = [{ protocol = \"tcp\", port = 5432 }]";
    let model =
        |text: &str| parse(&BASE.replacen(long, text, 1), "f").unwrap_or_else(|report| panic!("{report}")).model;
    assert_eq!(model(short), model(one));
    assert_ne!(model(short), model(long));
}

#[test]
fn what_the_daemon_is_told_reaches_the_host_configuration() {
    let host = |lines: &str| {
        let text = BASE.replacen("metrics = \"127.0.0.1:9464\"", lines, 1);
        parse(&text, "f").unwrap_or_else(|report| panic!("{report}")).host
    };
    let plain = host("");
    assert_eq!(
        (plain.limits, plain.quotas, plain.flow_log),
        (Limits::TODAY, Quotas::default(), Some(FlowLog::default()))
    );
    assert_eq!(FlowLog::default(), FlowLog { retain: Duration::from_hours(168), max_bytes: 268_435_456 });
    assert_eq!(host("limits = \"azure-2019\"").limits, Limits::AZURE_2019);
    let limits = host("limits = { base = \"azure-2019\", cross_region = true }").limits;
    assert_eq!(limits, Limits { cross_region: true, ..Limits::AZURE_2019 });
    let limits = host("limits = { network_policies = false }").limits;
    assert_eq!(limits, Limits { network_policies: false, ..Limits::TODAY });
    for (word, cloud) in [("commercial", Cloud::Commercial), ("government", Cloud::Government), ("china", Cloud::China)]
    {
        assert_eq!(host(&format!("cloud = \"{word}\"")).cloud, cloud);
    }
    assert_eq!(plain.cloud, Cloud::Commercial);
    let quotas = host("quotas = { endpoints_per_vnet = 1000 }").quotas;
    assert_eq!((quotas.get(Quota::EndpointsPerVnet), quotas.get(Quota::VnetsPerSubscription)), (Some(1000), None));
    assert_eq!(host("on_request = \"/bin/notify --to ops\"").on_request, ["/bin/notify", "--to", "ops"]);
    assert_eq!(host("on_request = [\"/my programs/notify\"]").on_request, ["/my programs/notify"]);
    assert_eq!(plain.audit, AuditLimits { retain: Duration::from_hours(87_600), max_bytes: 1 << 30 });
    let audit = AuditLimits { retain: Duration::from_hours(24), max_bytes: 2 << 20 };
    assert_eq!(host("audit = { retain = \"1d\", max_bytes = \"2MiB\" }").audit, audit);
    assert_eq!(host("flow_log = false").flow_log, None);
    assert_eq!(host("flow_log = true").flow_log, plain.flow_log);
    let log = FlowLog { retain: Duration::from_hours(12), ..FlowLog::default() };
    assert_eq!(host("flow_log = { retain = \"12h\" }").flow_log, Some(log));
    assert_eq!(host("flow_log = { max_bytes = \"2GiB\" }").flow_log.map(|log| log.max_bytes), Some(2 << 30));
}

/// What is in force where documents come in: the base file.
fn live() -> Model {
    parse(BASE, "f").unwrap_or_else(|report| panic!("{report}")).model
}

/// A consumer's half.
const CONSUMER: &str = "\
[[endpoint]]
name = \"second\"
vnet = \"spoke\"
subnet = \"endpoints\"
resource = \"orders-db\"
manual = true
";

#[test]
fn a_document_refers_to_what_is_live_and_names_only_its_own() {
    let text = format!(
        "{CONSUMER}\n[[endpoint]]\nname = \"third\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"\nresource = \"acct\"\n\
         subresource = \"blob\"\nip = \"10.1.9.60\"\n"
    );
    let document = parse_document(&text, "d", &live()).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<String> = document.model.endpoints.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["default/second", "default/third"]);
    assert!(document.model.vnets.is_empty() && document.model.resources.is_empty() && document.warnings.is_empty());
    let second = &document.model.endpoints[&Key::new("default", "second")];
    assert_eq!((second.region.as_str(), &second.resource), ("westeurope", &Key::new("default", "orders-db")));
}

#[test]
fn a_document_resolves_to_its_own_items_first() {
    let provider = "\n[[resource]]\nsubscription = \"tenant\"\nname = \"orders-db\"\nvnet = \"core\"\n\
         nat = \"10.20.99.40\"\ndestination = \"10.20.0.44\"\nports = [{ protocol = \"tcp\", port = 5432 }]\n";
    let document =
        parse_document(&format!("{CONSUMER}{provider}"), "d", &live()).unwrap_or_else(|report| panic!("{report}"));
    // The document's own resource is of another subscription, so the short name means the live one beside it.
    assert_eq!(document.model.endpoints[&Key::new("default", "second")].resource, Key::new("default", "orders-db"));
    let elsewhere = CONSUMER.replace("name = \"second\"", "subscription = \"other\"\nname = \"second\"");
    let document =
        parse_document(&format!("{elsewhere}{provider}"), "d", &live()).unwrap_or_else(|report| panic!("{report}"));
    let second = &document.model.endpoints[&Key::of("other", "default", "second")];
    assert_eq!(second.resource, Key::of("tenant", "default", "orders-db"));
}

#[test]
fn mistakes_of_a_document_have_their_place_and_the_live_state_judges() {
    let said = |text: &str| match parse_document(text, "d", &live()) {
        Ok(document) => document.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(report) => report.to_string(),
    };
    assert_eq!(said(CONSUMER), "");
    for (old, new, expected) in [
        ("orders-db", "orderz-db", "d:5:12: error: there is no resource `orderz-db`"),
        ("\"endpoints\"", "\"nowhere\"", "d:4:10: error: VNet `spoke` has no subnet `nowhere`"),
        ("manual = true", "ip = \"10.9.9.9\"", "d:6:6: error: endpoint address 10.9.9.9 is outside subnet"),
        ("manual = true", "subresource = \"blob\"", "d:6:15: error: `orders-db` is a private link service"),
        ("manual = true", "region = \"mars\"", "d:6:10: error: region `mars` is not that of VNet `spoke`"),
        ("[[endpoint]]", "[daemon]\n[[endpoint]]", "d:1:2: error: `daemon` concerns the host"),
        (
            "[[endpoint]]",
            "[[attachment]]\nvnet = \"spoke\"\n[[endpoint]]",
            "remedy: remove it: host matters belong to the daemon's own file",
        ),
        (
            "[[endpoint]]",
            "[[resource_type]]\nname = \"A.B/c\"\n[[endpoint]]",
            "d:1:3: error: `resource_type` concerns the host",
        ),
    ] {
        let said = said(&CONSUMER.replacen(old, new, 1));
        assert!(said.contains(expected), "{new}: {said}");
    }
    // An address that is taken is the daemon's to refuse: by then it may be free, or another one taken.
    assert_eq!(said(&CONSUMER.replacen("manual = true", "ip = \"10.1.9.4\"", 1)), "");
    // The daemon's own file stands for itself.
    assert!(parse(CONSUMER, "f").is_err());
}

#[test]
fn a_report_shows_the_line_and_underlines_the_place() {
    let text = BASE.replacen("10.1.9.4", "10.1.8.4", 1);
    let report = parse(&text, "orders.toml").expect_err("the address is outside");
    assert_eq!(
        report.to_string(),
        "orders.toml:60:6: error: endpoint address 10.1.8.4 is outside subnet `endpoints` (10.1.9.0/24)\n  \
         60 | ip = \"10.1.8.4\"\n     |      ^^^^^^^^^^\n  \
         remedy: choose an address of subnet `endpoints` between 10.1.9.4 and 10.1.9.254, or leave `ip` out\n1 error"
    );
    let json = report.to_json();
    assert_eq!(json["apiVersion"], "privlink/v1");
    assert_eq!((&json["items"][0]["line"], &json["items"][0]["column"]), (&60.into(), &6.into()));
    assert_eq!(json["items"][0]["severity"], "error");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = std::env::temp_dir().join(format!("privlink-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let garbage = folder.join("garbage.toml");
    std::fs::write(&garbage, [b'a', 0xff, 0xfe]).expect("writable");
    let large = folder.join("large.toml");
    std::fs::write(&large, vec![b'#'; SIZE_MAX + 1]).expect("writable");
    let said = |path: &Path| load(path).expect_err("refused").to_string();
    for (path, expected) in [
        (folder.join("absent.toml"), "no such file\n  remedy: check the path"),
        (folder.clone(), "is a directory\n  remedy:"),
        (garbage, "byte 2 is not UTF-8\n  remedy:"),
        (large, "is larger than 4 MiB\n  remedy:"),
    ] {
        assert!(said(&path).contains(expected), "{}", said(&path));
    }
    std::fs::write(folder.join("good.toml"), template()).expect("writable");
    assert!(load(&folder.join("good.toml")).is_ok());
    std::fs::remove_dir_all(&folder).expect("removable");
}

#[test]
fn the_schema_knows_every_key_of_the_template() {
    let schema = schema();
    for file in [template(), SMALLEST, BASE] {
        let value = serde_json::to_value(toml::from_str::<toml::Table>(file).expect("TOML")).expect("JSON");
        known(&schema, &schema, &value, "");
    }
    for table in ["daemon", "attachment", "vnet", "security_group", "resource", "endpoint"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
    let refused = serde_json::json!({ "vnet": [{ "name": "x", "locked": true }] });
    assert!(std::panic::catch_unwind(|| known(&schema, &schema, &refused, "")).is_err());
}

/// Fails unless every key of `value` is a property of a schema that may apply to it.
fn known(root: &Json, schema: &Json, value: &Json, at: &str) {
    let schemas = applicable(root, schema);
    match value {
        Json::Object(table) => {
            for (key, value) in table {
                let found = schemas.iter().find_map(|schema| schema["properties"].get(key));
                known(
                    root,
                    found.unwrap_or_else(|| panic!("the schema lacks {at}.{key}")),
                    value,
                    &format!("{at}.{key}"),
                );
            }
        }
        Json::Array(items) => {
            let found = schemas.iter().find_map(|schema| schema.get("items"));
            let found = found.unwrap_or_else(|| panic!("the schema has no list at {at}"));
            for item in items {
                known(root, found, item, at);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn applicable<'a>(root: &'a Json, schema: &'a Json) -> Vec<&'a Json> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a name");
        return applicable(root, &root["$defs"][name]);
    }
    match schema["anyOf"].as_array() {
        Some(forms) => forms.iter().flat_map(|form| applicable(root, form)).collect(),
        None => vec![schema],
    }
}

/// The template with random pieces deleted, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let edits = proptest::collection::vec((any::<usize>(), 0_u8..4, "[\\[\\]{}=\",.a-z0-9# \n*/-]{0,6}"), 1..8);
    (any::<bool>(), edits).prop_map(|(base, edits)| {
        let text = if base { BASE } else { template() };
        let mut tokens: Vec<String> = text.split_inclusive([' ', '\n', '"', ',', '=']).map(str::to_owned).collect();
        for (at, kind, word) in edits {
            let at = at % tokens.len();
            match kind {
                0 => tokens[at].clear(),
                1 => tokens.insert(at, tokens[at].clone()),
                2 => tokens[at] = word,
                _ => {
                    let other = word.len() * 31 % tokens.len();
                    tokens.swap(at, other);
                }
            }
        }
        tokens.concat()
    })
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn no_text_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(report) = parse(&text, "f") {
            prop_assert!(report.errors() > 0 && !report.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_and_every_problem_has_its_place(text in mutated()) {
        let problems = match parse(&text, "f") {
            Ok(loaded) => {
                prop_assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning));
                loaded.warnings
            }
            Err(report) => {
                prop_assert!(report.errors() > 0);
                report.problems
            }
        };
        for problem in problems {
            let line = problem.line.expect("every problem of a text has a line");
            prop_assert!(line <= text.split('\n').count(), "{problem}");
            prop_assert!(!problem.remedy.is_empty() && !problem.message.is_empty());
        }
    }
}

const ZONES: &str = r#"
[[dns_zone]]
name = "Corp.Internal"
records = [
  { name = "www", type = "A", ttl = "5m", values = ["10.0.0.1", "10.0.0.2"] },
  { name = "@", type = "MX", values = "10 mail.corp.internal" },
  { name = "sip.corp.internal.", type = "SRV", values = "0 5 5060 pbx.corp.internal." },
]
links = [{ vnet = "spoke", resolution_policy = "NxDomainRedirect" }]
"#;

#[test]
fn a_zone_has_records_and_links_and_endpoints_stand_in_it() {
    let text = format!("{BASE}{ZONES}").replacen(
        "resource = \"orders-db\"",
        "resource = \"orders-db\"\ndns_zones = \"corp.internal\"",
        1,
    );
    let loaded = parse(&text, "privlink.toml").unwrap_or_else(|report| panic!("{report}"));
    let (key, zone) = loaded.model.dns_zones.iter().next().expect("a zone");
    assert_eq!(key.name, "Corp.Internal");
    let sets: Vec<_> =
        zone.records.iter().map(|one| (one.name.as_str(), one.set.data.kind().name(), one.set.ttl)).collect();
    assert_eq!(sets, [("@", "MX", 3_600), ("sip", "SRV", 3_600), ("www", "A", 300)]);
    assert_eq!(zone.links[0].policy, crate::model::ResolutionPolicy::NxDomainRedirect);
    let grouped = loaded.model.endpoints.values().find_map(|endpoint| endpoint.zone_group.as_ref()).expect("one");
    assert_eq!((&grouped.zones[0].zone, grouped.zones[0].name.as_str()), (key, "corp-internal"));
}

#[test]
fn what_is_wrong_with_a_zone_is_said_where_it_stands() {
    for (from, to, expected) in [
        ("Corp.Internal", "internal", "is not the name of a zone"),
        ("Corp.Internal", "corp..internal", "is not the name of a zone"),
        ("name = \"www\"", "name = \"w w\"", "`w w` is no name in zone"),
        ("name = \"www\"", "name = \"www.elsewhere.\"", "is no name in zone"),
        ("\"10.0.0.2\"", "\"fd00::2\"", "`fd00::2` is no value of a record of type A"),
        ("\"10 mail.corp.internal\"", "\"mail.corp.internal\"", "write a preference and a server"),
        ("type = \"A\"", "type = \"ANAME\"", "\"CNAME\""),
        (
            "name = \"sip.corp.internal.\", type = \"SRV\", values = \"0 5 5060 pbx.corp.internal.\"",
            "name = \"WWW\", type = \"A\", values = \"10.0.0.9\"",
            "a second record set of type A at `www`",
        ),
        (
            "name = \"sip.corp.internal.\", type = \"SRV\", values = \"0 5 5060 pbx.corp.internal.\"",
            "name = \"www\", type = \"CNAME\", values = \"db.corp.internal\"",
            "`www` is an alias, and has A records too",
        ),
        (
            "type = \"MX\", values = \"10 mail.corp.internal\"",
            "type = \"CNAME\", values = \"db.corp.internal\"",
            "an alias stands at the zone itself",
        ),
        ("vnet = \"spoke\", resolution", "vnet = \"spoek\", resolution", "there is no VNet `spoek`"),
        ("\"NxDomainRedirect\" }", "\"NxDomainRedirect\" }, { vnet = \"spoke\" }", "VNet `spoke` is linked twice"),
        (
            "[[dns_zone]]",
            "[[dns_zone]]\nname = \"corp.internal\"\nresource_group = \"other\"\nlinks = [{ vnet = \"default/spoke\" }]\n\n[[dns_zone]]",
            "is linked to zone `default/Corp.Internal` of the same name",
        ),
    ] {
        assert_eq!(ZONES.matches(from).count(), 1, "{from}");
        let report = parse(&format!("{BASE}{}", ZONES.replacen(from, to, 1)), "privlink.toml").expect_err(expected);
        assert!(report.to_string().contains(expected), "{expected}: {report}");
    }
    let many: Vec<String> = (0..6).map(|n| format!("\"z{n}.internal\"")).collect();
    let zones: Vec<String> = (0..6).map(|n| format!("[[dns_zone]]\nname = \"z{n}.internal\"\n")).collect();
    let zones = zones.concat();
    let with = format!("resource = \"orders-db\"\ndns_zones = [{}]", many.join(", "));
    let text = format!("{BASE}{zones}").replacen("resource = \"orders-db\"", &with, 1);
    let report = parse(&text, "privlink.toml").expect_err("six zones").to_string();
    assert!(report.contains("names 6 zones, and 5 is the limit"), "{report}");
}
