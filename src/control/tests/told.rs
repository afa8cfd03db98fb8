//! What refusals tell of others: every code is accounted for here, and rules between objects are told to somebody who sees
//! only one of them.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::control::access::{RoleAssignment, RoleDefinition};
use crate::control::decisions::Item;
use crate::control::model::{DnsZone, Key, LinkResource, Model, ResolutionPolicy, Tags, Vnet, ZoneLink};
use crate::control::refusal::UNSEEN_RULE;
use crate::control::sentence::Named;
use crate::control::testing::{resource, subnet, target, vnet};
use crate::control::validate::validate;

/// Codes whose words are about the request, or about the object where they show, and name no other.
const OF_THE_OBJECT: &[&str] = &[
    "AddressInUse",
    "AlreadyExists",
    "AutoApprovalNotVisible",
    "AutomaticNamesBesideZone",
    "BackendFamilyWithoutNatIp",
    "BackendOutsideVnet",
    "BuiltInAssignment",
    "BuiltInRole",
    "CnameAtApex",
    "CnameNotAlone",
    "ConnectionNotFound",
    "CrossRegionNotAllowed",
    "DryRun",
    "DuplicateBackend",
    "DuplicateMember",
    "DuplicateName",
    "DuplicatePriority",
    "DuplicateTarget",
    "InvalidAddress",
    "InvalidAddressSpace",
    "InvalidAlias",
    "InvalidAuthenticationToken",
    "InvalidConnectionState",
    "InvalidHealthCheck",
    "InvalidLifetime",
    "InvalidMember",
    "InvalidModel",
    "InvalidNatIpCount",
    "InvalidPeering",
    "InvalidPort",
    "InvalidPrefix",
    "InvalidPriority",
    "InvalidRate",
    "InvalidRecordName",
    "InvalidRecordSet",
    "InvalidRegion",
    "InvalidResourceGroupName",
    "InvalidResourceName",
    "InvalidResourceType",
    "InvalidRole",
    "InvalidSessionLimit",
    "InvalidSubresource",
    "InvalidText",
    "InvalidTimeout",
    "InvalidTransition",
    "InvalidTtl",
    "InvalidWorkload",
    "InvalidZoneName",
    "LinkIdentifiersExhausted",
    "MemberWithoutAddress",
    "NatIpInDedicatedSubnet",
    "NatIpIsReserved",
    "NetcfgSubnetRangeOutsideVnet",
    "NetcfgSubnetRangesOverlap",
    "NoBackends",
    "NoPorts",
    "NoTargets",
    "OverlappingPorts",
    "OverlappingPrefixes",
    "PeeringInitiated",
    "PrivateEndpointCannotBeCreatedInDelegatedSubnet",
    "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
    "PrivateEndpointCannotBeCreatedInSubnetWithServiceEndpoints",
    "PrivateEndpointSourceRulesNotSupported",
    "PrivateIPAddressIsReserved",
    "PrivateIPAddressNotInSubnet",
    "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
    "PrivateLinkServiceInDifferentRegionNotSupported",
    "RegionMismatch",
    "RequestMessageTooLong",
    "RequestMessageUnread",
    "ResolverLoop",
    "ResourceTypeNotAvailableInRegion",
    "ResourceWithoutVnet",
    "RoleAssignmentNotFound",
    "RoleDefinitionDoesNotExist",
    "SecurityGroupIgnored",
    "SettingWithoutEffect",
    "SubnetWithoutPrefix",
    "TimeoutTooShort",
    "TokenExpired",
    "TooManyPrivateDnsZones",
    "TooManyRecordSets",
    "TooManyPendingRequests",
    "TooManySubscriptions",
    "TooManyVirtualNetworkLinks",
    "UnknownResourceType",
    "VirtualNetworkLinkedTwice",
    "WorkloadCannotUsePrivateEndpoints",
    "ZoneNotLinked",
    "ZoneNotServed",
    "ZoneTakesNoRecord",
];

/// Codes told alike of what is unseen and of what is absent, by the rules of what is told by design.
const BY_DESIGN: &[&str] =
    &["AmbiguousReference", "AuthorizationFailed", "NameAlreadyTaken", "NameInUse", "NotFound", "PrincipalNotFound"];

/// Codes about the daemon and its host, whose causes are mentions of the host.
const OF_THE_HOST: &[&str] = &[
    "AttachmentWithoutVnet",
    "AuditBroken",
    "DeviceInUse",
    "DuplicateAttachment",
    "EndpointVnetNotAttached",
    "HostRefused",
    "InvalidDeviceName",
    "InvalidMtu",
    "InvalidNamespace",
    "InvalidProxyInterface",
    "InvalidSocketPath",
    "InvalidStateDirectory",
    "InvalidWorkers",
    "LaterDecisionsUnknown",
    "NeighbourAnswers",
    "NoAttachment",
    "NotCompiled",
    "NotDurable",
    "OverlappingAttachments",
    "PrefixNotAllowedHere",
    "ResourceVnetNotAttached",
    "StateUnreadable",
    "WorkerSilent",
    "WriterLost",
];

/// Codes that name other objects, each by a mention.
const OF_OTHERS: &[&str] = &[
    "DuplicateZoneName",
    "InUse",
    "InvalidLoadBalancerFrontend",
    "InvalidResourceReference",
    "NatIpNotInSubnet",
    "OverlappingPeers",
    "PrivateIPAddressInUse",
    "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections",
    "QuotaExceeded",
    "RoleAssigned",
    "RoleDefinitionHasAssignments",
    "SharedBackend",
    "SubnetIsFull",
    "ZoneNameLinkedTwice",
];

/// Codes of warnings about names, which are filtered by what they are about.
const OF_LINT: &[&str] = &[
    "NameClaimedTwice",
    "NameWaits",
    "NotAsked",
    "NxDomainTrap",
    "OtherResolver",
    "PublicZoneInUse",
    "PublicZoneOverridden",
];

/// Every word of that form in the sources of this plane: a code that is added has to be put into one of the lists.
#[test]
fn every_code_is_accounted_for() {
    let mut found = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control"), &mut found);
    let lists = [OF_THE_OBJECT, BY_DESIGN, OF_THE_HOST, OF_OTHERS, OF_LINT];
    let known: BTreeSet<String> = lists.into_iter().flatten().map(|&code| code.to_owned()).collect();
    let new: Vec<&String> = found.difference(&known).collect();
    assert!(new.is_empty(), "say what these tell of other objects: {new:?}");
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
        let rule = BrokenRule::from(&violation);
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
        let command = Command::Delete { kind: ItemKind::Resource, reference: "orders-db".into() };
        let Outcome::Deleted(deletion) = control.apply(caller, command).unwrap() else { panic!() };
        assert!(!world.passes("10.1.9.4"));
        deletion.disconnected
    };
    assert_eq!(deleted(&root()), [key("orders")]);
    assert_eq!(deleted(&Caller::user(7, "ada")), []);
}
