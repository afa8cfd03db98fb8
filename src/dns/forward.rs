//! Names that are not private: asked of the upstream servers, kept as long as they allow, tried at the next server when
//! one is silent, by TCP when an answer is cut short; random ports, identifiers and letter case (RFC 5452).

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{Resolver, TokioResolver};

use super::answer::{Reply, look_up};
use crate::snapshot::dns::ResolverPlan;

/// Nobody who could answer was reached (RFC 8914 §4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;

/// This server does not answer for that name (RFC 8914 §4.21).
const NOT_AUTHORITATIVE: u16 = 20;

/// Responses that are kept.
const CACHE: u64 = 16_384;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The upstream servers of one VNet.
pub(super) struct Upstream(Option<TokioResolver>);

impl Upstream {
    /// `servers` in their order; without any, every name is refused.
    ///
    /// # Errors
    /// The resolver cannot be made.
    pub(super) fn new(servers: &[IpAddr]) -> Result<Self, NetError> {
        if servers.is_empty() {
            return Ok(Self(None));
        }
        let servers = servers.iter().map(|&ip| NameServerConfig::udp_and_tcp(ip)).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut options = ResolverOpts::default();
        options.cache_size = CACHE;
        options.timeout = PATIENCE;
        options.attempts = 1;
        options.edns0 = true;
        options.case_randomization = true;
        options.preserve_intermediates = true;
        options.use_hosts_file = ResolveHosts::Never;
        options.num_concurrent_reqs = 1;
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        builder.build().map(|resolver| Self(Some(resolver)))
    }

    /// What the upstream says of `name`. Where it leads into the plan, the plan goes on: a stub client follows no
    /// alias by itself.
    pub(super) async fn ask(&self, plan: &ResolverPlan, name: &Name, kind: RecordType) -> Reply {
        let Some(resolver) = &self.0 else {
            let why = "privlink: not a private name, and the VNet names no upstream".to_owned();
            return failed(ResponseCode::Refused, Some((NOT_AUTHORITATIVE, why)));
        };
        // With the dot at its end no search list is tried.
        let mut whole = name.clone();
        whole.set_fqdn(true);
        match resolver.lookup(whole, kind).await {
            Ok(found) => completed(plan, name, kind, found.answers()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Reply {
                soa: none.soa.map(|soa| Record::from_rdata(soa.name.clone(), soa.ttl, RData::SOA(soa.data))),
                ..Reply::only(none.response_code)
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => failed(code, None),
            Err(error) => {
                tracing::debug!(%name, %error, "upstream");
                failed(ResponseCode::ServFail, Some((NO_REACHABLE_AUTHORITY, format!("privlink: upstream: {error}"))))
            }
        }
    }
}

fn failed(code: ResponseCode, why: Option<(u16, String)>) -> Reply {
    Reply { why, ..Reply::only(code) }
}

/// The records from `name` on, alias by alias; at the first name of the plan the plan's own take over.
fn completed(plan: &ResolverPlan, name: &Name, kind: RecordType, records: &[Record]) -> Reply {
    let mut at = name.clone();
    let mut answers: Vec<Record> = Vec::new();
    for _ in 0..records.len() {
        let alias = records.iter().find_map(|record| {
            let RData::CNAME(target) = &record.data else { return None };
            (record.name == at).then_some((record, &target.0))
        });
        let Some((record, target)) = alias.filter(|_| kind != RecordType::CNAME) else { break };
        answers.push(record.clone());
        if let Some(own) = look_up(plan, target, kind) {
            answers.extend(own.answers);
            return Reply { answers, own: false, ..own };
        }
        at = target.clone();
    }
    answers.extend(
        records.iter().filter(|record| record.name == at && !answers.contains(record)).cloned().collect::<Vec<_>>(),
    );
    Reply { answers, ..Reply::only(ResponseCode::NoError) }
}
