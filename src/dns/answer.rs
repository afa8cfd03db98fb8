//! Answers a question from the plan, without socket and clock.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::snapshot::dns::{Node, Owner, RecordData, RecordSet, ResolutionPolicy, ResolverPlan, Soa, enclosing};

/// RFC 8914 §4.16: blocked by the operator of the resolver.
pub const BLOCKED: u16 = 15;

/// The most aliases that are followed. The plan makes one; written records may add more.
const MOST_ALIASES: usize = 8;

/// A resolver's reply for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The response code (RFC 6604: of the last name of a chain).
    pub code: ResponseCode,
    /// Records, aliases first.
    pub answers: Vec<Record>,
    /// The zone's SOA, if there is no record (RFC 2308 §2).
    pub soa: Option<Record>,
    /// Why there is no record: a code of RFC 8914 and a text.
    pub why: Option<(u16, String)>,
    /// Whether the reply comes from the plan.
    pub own: bool,
    /// The last alias, if the plan does not know it. The upstreams go on from there.
    pub onward: Option<Name>,
}

impl Reply {
    /// A reply with a response code only.
    #[must_use]
    pub fn only(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), soa: None, why: None, own: false, onward: None }
    }
}

/// The plan's reply for `name`. `None`: the plan does not know it.
#[must_use]
pub fn look_up(plan: &ResolverPlan, name: &Name, kind: RecordType) -> Option<Reply> {
    let mut owner = name.clone();
    let mut reply = Reply { own: true, ..Reply::only(ResponseCode::NoError) };
    for _ in 0..MOST_ALIASES {
        let key = key_of(&owner);
        match step(plan, &owner, &key, kind, &mut reply) {
            ChainStep::Done => return Some(reply),
            ChainStep::Elsewhere if reply.answers.is_empty() => return None,
            ChainStep::Elsewhere => {
                reply.onward = Some(owner);
                return Some(reply);
            }
            ChainStep::On(to) => owner = to,
        }
    }
    Some(Reply { own: true, ..Reply::only(ResponseCode::ServFail) })
}

/// The result for one name of a chain.
enum ChainStep {
    /// The reply is whole.
    Done,
    /// It is an alias.
    On(Name),
    /// The plan does not know it.
    Elsewhere,
}

fn step(plan: &ResolverPlan, name: &Name, key: &str, kind: RecordType, reply: &mut Reply) -> ChainStep {
    if let Some(node) = plan.names.get(key).filter(|node| !node.is_empty()) {
        return at_node(plan, (name, key), kind, node, reply);
    }
    let guarded = plan.guard_of(key);
    let Some((zone, known)) = plan.zone_of(key) else {
        return guarded.map_or(ChainStep::Elsewhere, |guard| withheld(plan, guard, reply));
    };
    if **zone == *key {
        if kind == RecordType::SOA {
            reply.answers.extend(soa(plan, key));
        } else {
            reply.soa = soa(plan, key);
        }
        return ChainStep::Done;
    }
    // Part of a longer name. A zone made for an endpoint has no other names, so it needs no answer.
    if known.own.is_some() && plan.names.get(key).is_some() {
        reply.soa = soa(plan, key);
        return ChainStep::Done;
    }
    if let Some(node) = wildcard(plan, key, zone) {
        return at_node(plan, (name, key), kind, node, reply);
    }
    match (known.policy, guarded) {
        (ResolutionPolicy::NxDomainRedirect, Some(guard)) => withheld(plan, guard, reply),
        (ResolutionPolicy::NxDomainRedirect, None) => ChainStep::Elsewhere,
        (ResolutionPolicy::Default, _) => {
            (reply.code, reply.soa) = (ResponseCode::NXDomain, soa(plan, key));
            ChainStep::Done
        }
    }
}

/// The wildcard for names that do not exist: directly below the closest existing name (RFC 4592 §3.3.1).
fn wildcard<'a>(plan: &'a ResolverPlan, key: &str, zone: &str) -> Option<&'a Node> {
    let exists = |part: &&str| *part == zone || plan.names.get(part).is_some();
    let closest = enclosing(key).skip(1).find(exists)?;
    plan.names.get(&format!("*.{closest}"))
}

/// Lockdown: names without an Approved endpoint here have no address.
fn withheld(plan: &ResolverPlan, guard: &str, reply: &mut Reply) -> ChainStep {
    (reply.code, reply.soa) = (ResponseCode::NXDomain, soa(plan, guard));
    reply.why = Some((BLOCKED, lockdown(guard)));
    ChainStep::Done
}

fn lockdown(guard: &str) -> String {
    format!("privlink: the VNet is locked down, and no Approved endpoint has this name in {guard}")
}

fn at_node(
    plan: &ResolverPlan,
    (name, key): (&Name, &str),
    kind: RecordType,
    node: &Node,
    reply: &mut Reply,
) -> ChainStep {
    let guard = plan.guard_of(key);
    // A written record may lead anywhere. Under lockdown only endpoints have addresses.
    let leads = |set: &RecordSet| matches!(set.data, RecordData::A(_) | RecordData::Aaaa(_) | RecordData::Cname(_));
    let written: Vec<&RecordSet> = node.written().iter().filter(|set| guard.is_none() || !leads(set)).collect();
    let told: Vec<&Owner> = node.owners.iter().filter(|owner| plan.tells(owner, guard.is_some())).collect();
    let before = reply.answers.len();
    for set in &written {
        reply.answers.extend(values(set, kind).map(|data| Record::from_rdata(name.clone(), set.ttl, data)));
    }
    for data in told.iter().filter_map(|owner| address(owner.address, kind)) {
        // Endpoints and written records may share an address. A set holds each once (RFC 2181 §5).
        if !reply.answers.iter().skip(before).any(|known| known.data == data) {
            reply.answers.push(record(plan, name.clone(), data));
        }
    }
    if reply.answers.len() > before {
        return ChainStep::Done;
    }
    let alias = written.iter().find_map(|set| {
        let RecordData::Cname(to) = &set.data else { return None };
        Some((to, set.ttl))
    });
    // Written addresses come before those that a resource's name leads to.
    let named = || node.aliases.first().filter(|_| node.owners.is_empty() && !written.iter().any(|set| leads(set)));
    if let Some((to, ttl)) = alias.or_else(|| named().map(|alias| (&alias.to, seconds(plan))))
        && let Ok(to) = Name::from_ascii(format!("{to}."))
    {
        reply.answers.push(Record::from_rdata(name.clone(), ttl, RData::CNAME(CNAME(to.clone()))));
        return if kind == RecordType::CNAME { ChainStep::Done } else { ChainStep::On(to) };
    }
    if told.is_empty() && !node.owners.is_empty() {
        reply.why = Some((BLOCKED, states(plan, &node.owners)));
    } else if let Some(guard) = guard.filter(|_| told.is_empty() && written.len() < node.written().len()) {
        reply.why = Some((BLOCKED, lockdown(guard)));
    }
    if reply.why.is_some() && written.is_empty() {
        reply.code = ResponseCode::NXDomain;
    } else if kind == RecordType::SOA && plan.zones.get(key).is_some() {
        reply.answers.extend(soa(plan, key));
        return ChainStep::Done;
    }
    reply.soa = soa(plan, key);
    ChainStep::Done
}

/// Endpoints of other VNets are not named: the client may not see them.
fn states(plan: &ResolverPlan, owners: &[Owner]) -> String {
    let one = |owner: &Owner| {
        let endpoint = if owner.vnet == plan.vnet { &*owner.endpoint } else { "an endpoint of another VNet" };
        format!("the connection of {endpoint} is {}", owner.state)
    };
    let mut said: Vec<String> = owners.iter().map(one).collect();
    said.dedup();
    format!("privlink: {}", said.join(", "))
}

/// A name as the plan writes it.
fn key_of(name: &Name) -> String {
    let mut text = name.to_ascii().to_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

fn address(address: IpAddr, kind: RecordType) -> Option<RData> {
    match address {
        IpAddr::V4(four) if matches!(kind, RecordType::A | RecordType::ANY) => Some(RData::A(A(four))),
        IpAddr::V6(six) if matches!(kind, RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(six))),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The values of a set, if it has the requested type. An alias is returned as such.
fn values(set: &RecordSet, kind: RecordType) -> impl Iterator<Item = RData> {
    let name = |name: &str| Name::from_ascii(format!("{name}.")).ok();
    let values: Vec<Option<RData>> = match &set.data {
        RecordData::A(all) => all.iter().map(|one| Some(RData::A(A(*one)))).collect(),
        RecordData::Aaaa(all) => all.iter().map(|one| Some(RData::AAAA(AAAA(*one)))).collect(),
        RecordData::Mx(all) => {
            all.iter().map(|one| Some(RData::MX(MX::new(one.preference, name(&one.exchange)?)))).collect()
        }
        RecordData::Ptr(all) => all.iter().map(|one| Some(RData::PTR(PTR(name(one)?)))).collect(),
        RecordData::Srv(all) => all
            .iter()
            .map(|one| Some(RData::SRV(SRV::new(one.priority, one.weight, one.port, name(&one.target)?))))
            .collect(),
        RecordData::Txt(all) => all.iter().map(|one| Some(RData::TXT(TXT::new(one.clone())))).collect(),
        RecordData::Cname(_) => Vec::new(),
    };
    values.into_iter().flatten().filter(move |data| data.record_type() == kind)
}

fn record(plan: &ResolverPlan, name: Name, data: RData) -> Record {
    Record::from_rdata(name, seconds(plan), data)
}

fn seconds(plan: &ResolverPlan) -> u32 {
    u32::try_from(plan.ttl.as_secs()).unwrap_or(u32::MAX)
}

/// The SOA for `name`. Negative answers are cached as long as others (RFC 2308 §5), or as long as the zone's owner
/// says.
fn soa(plan: &ResolverPlan, name: &str) -> Option<Record> {
    let (zone, own) = match plan.zone_of(name) {
        Some((zone, known)) => (&**zone, known.own.as_deref()),
        None => (name, None),
    };
    let made = Soa { ttl: seconds(plan), minimum: seconds(plan), ..Soa::default() };
    let said = own.unwrap_or(&made);
    let apex = Name::from_ascii(format!("{zone}.")).ok()?;
    let email = if said.email.is_empty() { format!("hostmaster.{zone}") } else { said.email.to_string() };
    let responsible = Name::from_ascii(format!("{email}.")).ok()?;
    let data = SOA::new(
        apex.clone(),
        responsible,
        plan.serial,
        at_most(said.refresh),
        at_most(said.retry),
        at_most(said.expire),
        said.minimum,
    );
    Some(Record::from_rdata(apex, said.ttl.min(said.minimum), RData::SOA(data)))
}

fn at_most(seconds: u32) -> i32 {
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
