//! A question put to the plan: no socket, no clock.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::snapshot::dns::{Node, Owner, ResolverPlan};

/// RFC 8914 §4.16: blocked by whoever runs the resolver.
pub const BLOCKED: u16 = 15;

/// Aliases that are followed; a plan makes one.
const MOST_ALIASES: usize = 8;

/// What a resolver says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it ends (RFC 6604: of the last name of a chain).
    pub code: ResponseCode,
    /// Records, aliases first.
    pub answers: Vec<Record>,
    /// Of the zone, where there is no record (RFC 2308 §2).
    pub soa: Option<Record>,
    /// Why there is none: a code of RFC 8914 and words.
    pub why: Option<(u16, String)>,
    /// Whether the plan itself says so.
    pub own: bool,
}

/// What the plan says of `name`; `None`: it does not know it.
#[must_use]
pub fn look_up(plan: &ResolverPlan, name: &Name, kind: RecordType) -> Option<Reply> {
    let (mut owner, mut key, mut answers) = (name.clone(), key_of(name), Vec::new());
    for _ in 0..MOST_ALIASES {
        match plan.names.get(&key) {
            Some(Node::Alias(target)) => {
                let to = Name::from_ascii(format!("{target}.")).ok()?;
                answers.push(record(plan, owner, RData::CNAME(CNAME(to.clone()))));
                if kind == RecordType::CNAME {
                    return Some(Reply { code: ResponseCode::NoError, answers, soa: None, why: None, own: true });
                }
                (owner, key) = (to, target.clone());
            }
            Some(Node::Host { zone, owners }) => {
                return Some(of_host(plan, (owner, kind), zone, owners, answers));
            }
            None => return at_apex(plan, &key, kind),
        }
    }
    None
}

/// A name as the plan writes it.
fn key_of(name: &Name) -> String {
    let mut text = name.to_ascii().to_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

fn of_host(
    plan: &ResolverPlan,
    (name, kind): (Name, RecordType),
    zone: &str,
    owners: &[Owner],
    mut answers: Vec<Record>,
) -> Reply {
    if !owners.iter().any(|owner| owner.answers) {
        let said: Vec<String> =
            owners.iter().map(|owner| format!("the connection of {} is {}", owner.endpoint, owner.state)).collect();
        let why = Some((BLOCKED, format!("privlink: {}", said.join(", "))));
        return Reply { code: ResponseCode::NXDomain, answers, soa: soa(plan, zone), why, own: true };
    }
    if kind == RecordType::SOA && key_of(&name) == zone {
        answers.extend(soa(plan, zone));
    }
    let before = answers.len();
    let wanted = owners.iter().filter(|owner| owner.answers).map(|owner| owner.address);
    answers.extend(wanted.filter_map(|address| {
        let data = match address {
            IpAddr::V4(four) if matches!(kind, RecordType::A | RecordType::ANY) => RData::A(A(four)),
            IpAddr::V6(six) if matches!(kind, RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(six)),
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(record(plan, name.clone(), data))
    }));
    let soa = if answers.len() == before { soa(plan, zone) } else { None };
    Reply { code: ResponseCode::NoError, answers, soa, why: None, own: true }
}

/// The name of a zone itself.
fn at_apex(plan: &ResolverPlan, key: &str, kind: RecordType) -> Option<Reply> {
    plan.zones.contains(key).then(|| {
        let soa = soa(plan, key);
        let (answers, soa) = if kind == RecordType::SOA { (soa.into_iter().collect(), None) } else { (vec![], soa) };
        Reply { code: ResponseCode::NoError, answers, soa, why: None, own: true }
    })
}

fn record(plan: &ResolverPlan, name: Name, data: RData) -> Record {
    Record::from_rdata(name, seconds(plan), data)
}

fn seconds(plan: &ResolverPlan) -> u32 {
    u32::try_from(plan.ttl.as_secs()).unwrap_or(u32::MAX)
}

/// The zone's start of authority; negative answers are kept as long as others (RFC 2308 §5).
fn soa(plan: &ResolverPlan, zone: &str) -> Option<Record> {
    let name = Name::from_ascii(format!("{zone}.")).ok()?;
    let responsible = Name::from_ascii(format!("hostmaster.{zone}.")).ok()?;
    let data = SOA::new(name.clone(), responsible, plan.serial, 3_600, 300, 2_419_200, seconds(plan));
    Some(record(plan, name, RData::SOA(data)))
}

#[cfg(test)]
mod tests;
