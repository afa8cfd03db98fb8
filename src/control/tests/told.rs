//! What refusals tell of others: every code is accounted for here, and rules between objects are told to somebody who sees
//! only one of them.

/// What there is.
mod scene;

use std::collections::BTreeSet;
use std::path::Path;

use jiff::SignedDuration;

use super::*;
use crate::model::error::UNSEEN_RULE;
use crate::model::rules::validate;
use crate::model::sentence::Named;
use crate::model::state::Item;
use crate::model::{
    DnsZone, Key, LinkResource, Model, PrivateEndpoint, Quota, Quotas, ResolutionPolicy, Tags, Vnet, ZoneLink,
};
use crate::model::{RoleAssignment, RoleDefinition, Scope};
use crate::testing::{TOLD_BY_ROWS, resource, subnet, target, vnet};

/// How somebody who may not see what a code is about comes to it.
enum How {
    /// The tenant's command is refused alike whether what it may not see is there or not.
    Alike(fn() -> AnyCommand),
    /// The tenant's command is refused alike whatever it may not see is called, and carried out where nothing is there.
    /// The rule says why it may know that something is.
    Collides(fn() -> AnyCommand, &'static str),
    /// Another test has it provoked, or it comes to nobody who may not see all that it is about.
    Held(&'static str),
    /// It is about the daemon and its host, and its causes are mentions of the host.
    Host,
    /// It refuses nothing: a warning, which is filtered by what it is about.
    Lint,
}
use How::{Alike, Collides, Held, Host, Lint};
use scene::{
    account, addresses, alias, changed, create, decision, delete, doubly_wrong, grouped, lent, link, narrowed, no_rate,
    no_time, own, own_net, put, record, role, saying, scene, shared_zone, twice_behind, widened, zone,
};

/// What has to be told so that nothing that somebody else needs is pulled away: nothing of it but that it is.
const IN_USE: &str = "what is in use stays, and `something that you may not see` uses it";

/// Security rule 1.6.
const TAKEN_ADDRESS: &str = "an address in a subnet that the caller may join is taken";

/// Every code but those that rows of mistakes provoke ([`TOLD_BY_ROWS`]).
const CODES: &[(&str, How)] = &[
    ("AlreadyExists", Alike(|| create(|items| items.vnets.insert(of("mine", "net"), own_net())))),
    ("AmbiguousReference", Alike(|| delete(ItemKind::Endpoint, "twin"))),
    ("AuthorizationFailed", Alike(|| put(|items| items.vnets.insert(of("hush", "net"), own_net())))),
    ("BuiltInAssignment", Held("who sees one sees whose it is: the daemon's own")),
    ("BuiltInRole", Alike(|| delete(ItemKind::Role, "Reader"))),
    ("ConnectionNotFound", Alike(|| any(Decide::reject(decision(Some("mine/other"), None))))),
    ("DryRun", Held("the daemon tells it itself")),
    ("InUse", Collides(|| delete(ItemKind::Vnet, "mine/lent"), IN_USE)),
    ("InvalidAuthenticationToken", Held("it is about the caller's own token")),
    ("InvalidRequest", Held("the same words whatever does not fit: `api::tests::unseen::by_id`")),
    ("InvalidLifetime", Alike(|| any(Decide::approve(decision(None, Some(-1)))))),
    ("InvalidModel", Alike(|| put(|items| items.vnets.insert(of("mine", "new"), doubly_wrong())))),
    ("InvalidRole", Alike(|| put(|items| items.roles.insert(Key::global("none"), role("none", &[]))))),
    ("InvalidRole", Collides(narrowed, IN_USE)),
    ("AuthorizationFailed", Collides(widened, "who widens a role that is assigned must be allowed to assign it so")),
    ("InvalidText", Alike(|| put(|items| items.endpoints.insert(of("mine", "new"), saying("\u{1b}[31m"))))),
    (
        "InvalidTransition",
        Alike(|| any(Decide::reject(Decision { endpoint: "mine/gone".into(), ..decision(None, None) }))),
    ),
    ("LinkIdentifiersExhausted", Held("it names nothing")),
    (
        "NameAlreadyTaken",
        Collides(|| put(|items| items.resources.insert(of("mine", "account"), account())), "a global name is taken"),
    ),
    ("NameInUse", Alike(|| put(|items| items.resources.insert(of("mine", "db"), account())))),
    ("NotFound", Alike(|| delete(ItemKind::Endpoint, "hush/twin"))),
    ("NotFound", Alike(|| delete(ItemKind::Vnet, "hush/twin-net"))),
    ("PrincipalNotFound", Held("who may read tokens alone: `api::tests::principals`")),
    (
        "PrivateIPAddressInUse",
        Collides(|| put(|items| items.endpoints.insert(of("mine", "new"), lent(Some("10.9.1.4")))), TAKEN_ADDRESS),
    ),
    (
        "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections",
        Collides(|| delete(ItemKind::Resource, "mine/other"), IN_USE),
    ),
    (
        "QuotaExceeded",
        Collides(
            || put(|items| items.endpoints.insert(of("mine", "new"), own("net", None))),
            "the bound is everybody's; how many there are is told to who sees them",
        ),
    ),
    ("RoleAssigned", Held("a detail of RoleDefinitionHasAssignments")),
    ("RoleAssignmentNotFound", Held("nothing of that name is seen: `api::tests::principals`")),
    ("RoleDefinitionDoesNotExist", Alike(|| delete(ItemKind::Role, "nothing"))),
    ("RoleDefinitionHasAssignments", Collides(|| delete(ItemKind::Role, "assigned"), IN_USE)),
    ("SubnetIsFull", Collides(|| put(|items| items.endpoints.insert(of("mine", "new"), lent(None))), TAKEN_ADDRESS)),
    ("TokenExpired", Held("who may write tokens alone")),
    ("TooManyPendingRequests", Held("`api::tests::unseen::by_id`")),
    ("CnameAtApex", Alike(|| zone(|zone| zone.records = vec![record("@", 60, alias())]))),
    (
        "CnameNotAlone",
        Alike(|| zone(|zone| zone.records = vec![record("www", 60, alias()), record("www", 60, addresses(1))])),
    ),
    ("DuplicateZoneName", Alike(|| grouped(&[("mine", "one.internal"), ("also", "one.internal")]))),
    ("InvalidLoadBalancerFrontend", Alike(twice_behind)),
    (
        "InvalidPrefix",
        Alike(|| {
            let sources = vec!["::ffff:10.8.1.0/120".parse().expect("a prefix")];
            put(|items| items.endpoints.insert(of("mine", "new"), PrivateEndpoint { sources, ..own("net", None) }))
        }),
    ),
    ("InvalidRate", Alike(|| changed(|db| db.rates = Some(no_rate())))),
    ("InvalidRecordName", Alike(|| zone(|zone| zone.records = vec![record("a b", 60, addresses(1))]))),
    ("InvalidRecordSet", Alike(|| zone(|zone| zone.records = vec![record("www", 60, addresses(21))]))),
    ("InvalidTimeout", Alike(|| changed(|db| db.timeouts = no_time()))),
    ("InvalidTtl", Alike(|| zone(|zone| zone.records = vec![record("www", u32::MAX, addresses(1))]))),
    ("InvalidZoneName", Alike(|| put(|items| items.dns_zones.insert(of("mine", "internal"), DnsZone::default())))),
    (
        "TooManyPrivateDnsZones",
        Alike(|| grouped(&["a.b", "c.d", "e.f", "g.h", "i.j", "k.l"].map(|name| ("mine", name)))),
    ),
    (
        "TooManyRecordSets",
        Alike(|| {
            let records =
                |count: u32| (0..count).map(|number| record(&format!("r{number}"), 60, addresses(1))).collect();
            zone(|zone| zone.records = records(25_001))
        }),
    ),
    (
        "TooManySubscriptions",
        Alike(|| changed(|db| db.auto_approval = (0..101).map(|number| format!("s{number}")).collect())),
    ),
    ("TooManyVirtualNetworkLinks", Held("it counts the links of the zone itself: a thousand of them")),
    ("VirtualNetworkLinkedTwice", Alike(|| zone(|zone| zone.links = vec![link("one"), link("two")]))),
    (
        "ZoneNameLinkedTwice",
        Collides(
            shared_zone,
            "who may link a VNet may know that it sees a zone of that name: resolvers there answer it",
        ),
    ),
    ("AutomaticNamesBesideZone", Lint),
    ("ResourceWithoutVnet", Lint),
    ("ZoneNotLinked", Lint),
    ("ZoneNotServed", Lint),
    ("ZoneTakesNoRecord", Lint),
    ("AttachmentWithoutVnet", Host),
    ("AuditBroken", Host),
    ("DeviceInUse", Host),
    ("DuplicateAttachment", Host),
    ("EndpointVnetNotAttached", Host),
    ("HostRefused", Host),
    ("InvalidDeviceName", Host),
    ("InvalidMtu", Host),
    ("InvalidNamespace", Host),
    ("InvalidProxyInterface", Host),
    ("InvalidSocketPath", Host),
    ("InvalidStateDirectory", Host),
    ("InvalidWorkers", Host),
    ("LaterDecisionsUnknown", Host),
    ("NeighbourAnswers", Host),
    ("NoAttachment", Host),
    ("NotCompiled", Host),
    ("NotDurable", Host),
    ("OverlappingAttachments", Host),
    ("PrefixNotAllowedHere", Host),
    ("ResourceVnetNotAttached", Host),
    ("StateUnreadable", Host),
    ("WorkerSilent", Host),
    ("WriterLost", Host),
    ("NameClaimedTwice", Lint),
    ("NameWaits", Lint),
    ("NotAsked", Lint),
    ("NxDomainTrap", Lint),
    ("OtherResolver", Lint),
    ("PublicZoneInUse", Lint),
    ("PublicZoneOverridden", Lint),
];

/// Every word of that form in the sources of the control plane: a code that is added has to be put into one of the lists.
#[test]
fn every_code_is_accounted_for() {
    let mut found = BTreeSet::new();
    for room in ["model", "access", "compile", "control"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut found);
    }
    let known = CODES.iter().map(|(code, _)| *code).chain(TOLD_BY_ROWS.iter().copied());
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    let new: Vec<&String> = found.difference(&known).collect();
    assert!(new.is_empty(), "say how somebody comes to these who may not see what they are about: {new:?}");
    let gone: Vec<&String> = known.difference(&found).collect();
    assert!(gone.is_empty(), "these are no codes any more: {gone:?}");
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let test = name.starts_with("tests") || name == "testing.rs";
        if path.is_dir() && !test {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !test {
            let source = std::fs::read_to_string(&path).expect("text");
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            // What serde and the schemas call a type is no code, and a comment has none.
            let other = ["#[serde(", "#[schemars(", "///"];
            let lines = code.lines().filter(|line| !other.iter().any(|of| line.trim_start().starts_with(of)));
            let code = &lines.collect::<Vec<_>>().join("\n");
            for (at, _) in code.match_indices('"') {
                let rest = code.get(at + 1..).unwrap_or_default();
                let word: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
                if rest.get(word.len()..).is_some_and(|rest| rest.starts_with('"')) && is_code(&word) && word != "VNets"
                {
                    found.insert(word);
                }
            }
        }
    }
}

/// Several words written together, as codes are.
fn is_code(word: &str) -> bool {
    let humps = word.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = word.bytes().filter(u8::is_ascii_lowercase).count();
    word.starts_with(|c: char| c.is_ascii_uppercase()) && humps >= 2 && lower >= 2 && humps + lower == word.len()
}

fn of(group: &str, name: &str) -> Key {
    Key::new(group, name)
}

/// Two tenants who get in each other's way: what `hush` has is called `secret`, but for what `mine` names itself.
fn colliding() -> Model {
    let mut model = Model::default();
    let within = |space: &str, third: &str| {
        let part = |name: &str, last: u8| subnet(name, &format!("{third}.{last}.0/24"));
        vnet(space, vec![part("sub", 1), part("nat", 99)])
    };
    let peers = |names: &[&str]| names.iter().map(|name| of("hush", name)).collect();
    let back = vec![of("mine", "net")];
    model.vnets.insert(
        of("mine", "net"),
        Vnet { peerings: peers(&["shown", "secret-twin"]), ..within("10.8.0.0/16", "10.8") },
    );
    model.vnets.insert(of("hush", "shown"), Vnet { peerings: back.clone(), ..within("10.66.0.0/16", "10.66") });
    model.vnets.insert(of("hush", "secret-twin"), Vnet { peerings: back, ..within("10.66.0.0/16", "10.66") });
    for (group, name, nat) in
        [("hush", "secret-db", "10.66.99.4"), ("mine", "db", "10.66.99.4"), ("mine", "outside", "10.66.200.4")]
    {
        let made = resource("core", nat, vec![target("", "", "10.66.99.20")]);
        model.resources.insert(of(group, name), LinkResource { vnet: Some(of("hush", "shown")), ..made });
    }
    for (group, name, to) in [("hush", "secret-pe", "secret-db"), ("mine", "pe", "db"), ("mine", "lost", "nothing")] {
        let mut made = endpoint("spoke", Some("10.66.1.7"), "db");
        (made.vnet, made.subnet, made.resource) = (of("hush", "shown"), "sub".into(), of(group, to));
        model.endpoints.insert(of(group, name), made);
    }
    let link = ZoneLink {
        name: "l".into(),
        vnet: of("mine", "net"),
        policy: ResolutionPolicy::Default,
        registration: false,
        tags: Tags::new(),
    };
    for key in [of("mine", "a.internal"), Key::of("secret-sub", "secret", "a.internal")] {
        model.dns_zones.insert(key, DnsZone { links: vec![link.clone()], ..DnsZone::default() });
    }
    model
}

#[test]
fn rules_between_objects_name_none_that_the_reader_does_not_see() {
    let model = colliding();
    let sees = |named: &Named| matches!(named, Named::Item(Item { key, .. }) if key.group == "mine");
    let mut told = BTreeSet::new();
    for violation in validate(&model, Some(&host(&["spoke"]))) {
        let rule = crate::model::error::ErrorDetail::from(&violation);
        let shown = rule.told(&sees);
        let text = format!("{} {}", shown.code, shown);
        assert!(!text.contains("secret"), "{} tells: {text}\nof: {rule}", violation.code);
        if rule.to_string().contains("secret") && shown.code != UNSEEN_RULE {
            told.insert(violation.code);
        }
    }
    for code in ["OverlappingPeers", "PrivateIPAddressInUse", "SharedBackend"] {
        assert!(told.contains(code), "{code} was not provoked: {told:?}");
    }
}

#[test]
fn whose_connections_end_with_a_resource_is_told_to_who_may_see_them() {
    let deleted = |caller: &Caller| {
        let world = Arc::new(World::default());
        let mut file = model();
        let account = file.resources.get_mut(&key("orders-db")).unwrap();
        account.kind = Some("Microsoft.Storage/storageAccounts".into());
        let role = RoleDefinition {
            name: "cleaner".parse().unwrap(),
            description: String::new(),
            actions: ["read", "delete"]
                .map(|verb| format!("Microsoft.Storage/storageAccounts/{verb}").parse().unwrap())
                .into(),
            not_actions: Vec::new(),
            assignable_scopes: vec!["/".parse().unwrap()],
        };
        let given = RoleAssignment {
            principal: "uid:7".parse().unwrap(),
            role: role.name.clone(),
            scope: "/".parse().unwrap(),
        };
        file.roles.insert(Key::global("cleaner"), role);
        file.assignments.insert(Key::global(given.id().to_string()), given);
        let control = begin(&world, file);
        let command = Delete { kind: ItemKind::Resource, reference: "orders-db".into() };
        let deletion = control.apply(caller, command).unwrap();
        assert!(!world.passes("10.1.9.4"));
        deletion.disconnected
    };
    assert_eq!(deleted(&root()), [key("orders")]);
    assert_eq!(deleted(&Caller::user(7, "ada")), []);
}

#[test]
fn every_code_is_provoked_by_who_may_not_see_what_it_is_about() {
    let tenant = Caller::user(1001, "tenant");
    let mut wrong = Vec::new();
    for (code, how) in CODES {
        let (command, collides) = match how {
            Alike(command) => (command, false),
            Collides(command, rule) => (command, !rule.is_empty()),
            Held(why) => {
                assert!(!why.is_empty(), "{code}");
                continue;
            }
            Host | Lint => continue,
        };
        let [one, other, absent] = [Some("secret"), Some("veiled-one"), None].map(|secret| {
            scene(secret).apply(&tenant, command()).map_err(|refusal| (refusal.code, format!("{refusal:?}")))
        });
        let line = format!("{code} by {:?}:\n   there: {one:?}\n  other: {other:?}\n  absent: {absent:?}", command());
        let told = one.as_ref().err().map(|(_, text)| text.clone()).unwrap_or_default();
        let typed = format!("{:?}", command());
        let hidden = ["secret", "veiled", "hush", "uid:700", "10.66."];
        let leaked = hidden.into_iter().find(|word| told.contains(word) && !typed.contains(word));
        let refused = one.as_ref().is_err_and(|(told, _)| told == code);
        let alike = format!("{one:?}") == format!("{other:?}");
        let without = if collides { absent.is_ok() } else { format!("{absent:?}") == format!("{one:?}") };
        if !(refused && alike && without && leaked.is_none()) {
            wrong.push(format!("{line}\n  leaked: {leaked:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} codes tell too much, or are not provoked:\n{}", wrong.len(), wrong.join("\n"));
}
