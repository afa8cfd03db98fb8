//! Asks the upstream servers whether names are in public use, independent of the plan.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout_at;

use super::answer::look_up;
use super::clock;
use super::question::Key;
use super::resolver::{RecordText, Resolver};
use super::upstream::Found;
use crate::snapshot::dns::ResolverPlan;

/// The most questions at a time: few enough that clients hardly notice.
const AT_ONCE: usize = 32;

/// The upstreams' answer for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamProbe {
    /// No upstream could be asked, for this reason.
    Unknown(String),
    /// Neither the name nor a name below it exists (RFC 8020 §2).
    Absent(IpAddr),
    /// The name exists, with these records of the type, or none.
    There(IpAddr, Vec<RecordText>),
}

/// Asks all `questions` and returns the answers in their order. Waits at most `within` for each.
pub(super) async fn asked(
    resolver: &Resolver,
    questions: Vec<(Name, RecordType)>,
    within: Duration,
) -> Vec<UpstreamProbe> {
    let Some(plan) = resolver.plan() else { return Vec::new() };
    let (until, plan) = (clock() + within, &*plan);
    let one = |(name, kind): (Name, RecordType)| async move {
        match timeout_at(until.into(), resolver.upstream().ask(&Key::of(&name, kind))).await {
            Ok((found, _)) => judged(plan, (&name, kind), &found),
            Err(_) => UpstreamProbe::Unknown("no answer in time".to_owned()),
        }
    };
    stream::iter(questions).map(one).buffered(AT_ONCE).collect().await
}

fn judged(plan: &ResolverPlan, question: (&Name, RecordType), found: &Found) -> UpstreamProbe {
    let Some(server) = found.server else {
        let words = found.why.as_ref().map_or("no answer", |(_, words)| words.trim_start_matches("privlink: "));
        return UpstreamProbe::Unknown(words.to_owned());
    };
    if repeats(plan, question, found) {
        return UpstreamProbe::Unknown(format!("{server} repeats what this resolver says"));
    }
    let of_kind = |record: &&Record| record.record_type() == question.1;
    if found.code == ResponseCode::NXDomain {
        UpstreamProbe::Absent(server)
    } else if found.code == ResponseCode::NoError {
        UpstreamProbe::There(server, found.records.iter().filter(of_kind).map(RecordText::new).collect())
    } else {
        UpstreamProbe::Unknown(format!("{server} says {}", found.code))
    }
}

/// Whether the answer only repeats this resolver's plan, because that server forwards to this resolver.
fn repeats(plan: &ResolverPlan, (name, kind): (&Name, RecordType), found: &Found) -> bool {
    let Some(own) = look_up(plan, name, kind) else { return false };
    let alike = |ours: &Record, theirs: &Record| match (&ours.data, &theirs.data) {
        (RData::SOA(ours), RData::SOA(theirs)) => ours.mname == theirs.mname && ours.rname == theirs.rname,
        (ours, theirs) => ours == theirs,
    };
    let known = |theirs: &Record| {
        own.answers.iter().chain(&own.soa).any(|ours| ours.name == theirs.name && alike(ours, theirs))
    };
    found.records.iter().chain(&found.soa).any(known)
}
