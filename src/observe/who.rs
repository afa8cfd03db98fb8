//! Who used a NAT address and port: live sessions as the workers tell, ended ones from the flow log.

use std::io;
use std::net::SocketAddr;

use jiff::Timestamp;

use super::Observer;
use super::flow_log::{Found, Losses, Sought, before};
use super::flows::Silent;
use crate::dataplane::queries::Sessions;
use crate::dataplane::record::{FlowFilter, SessionRecord};

/// Sessions listed at most.
pub const LIMIT: usize = 100;

/// One session that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `group/name` of the endpoint, where it is known here; a connection's name otherwise goes by its link.
    pub endpoint: Option<String>,
    /// Network identifier of its connection.
    pub link: u32,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The consumer.
    pub consumer: (std::net::IpAddr, u16),
    /// The endpoint's side.
    pub endpoint_address: (std::net::IpAddr, u16),
    /// The server.
    pub backend: (std::net::IpAddr, u16),
    /// When it was opened.
    pub from: Timestamp,
    /// When it ended; `None`: it lives.
    pub until: Option<Timestamp>,
    /// `live`, or why it ended.
    pub state: &'static str,
    /// Packets and bytes from the consumer to the service.
    pub to_service: (u64, u64),
    /// Packets and bytes from the service to the consumer.
    pub to_consumer: (u64, u64),
}

/// Every session that matches, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Live ones first, then the most recently ended.
    pub list: Vec<Trace>,
    /// Ended ones that match beyond these.
    pub more: u64,
    /// Ended ones that are missing.
    pub losses: Losses,
    /// What else is missing, in sentences.
    pub warnings: Vec<String>,
}

/// The question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum Untraceable {
    /// Workers.
    #[error(transparent)]
    Silent(#[from] Silent),
    /// The flow log.
    #[error("the flow log cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Observer {
    /// Every session with the NAT address and port that are sought; `now` is the time on the wall.
    ///
    /// # Errors
    /// A worker stayed silent, or the flow log cannot be read.
    pub fn who(&self, sought: &Sought, now: Timestamp) -> Result<Traces, Untraceable> {
        let known = self.known();
        let side = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        let filter = FlowFilter { endpoint: None, nat: Some(side(sought.nat)), backend: sought.backend.map(side) };
        // Live ones first: one that ends between the two questions is found twice, never missed.
        let live = self.ask(filter, usize::MAX)?;
        let Found { records, more, losses, behind } = match &self.flow_log {
            Some(log) => log.find(sought, LIMIT)?,
            None => Found::default(),
        };
        let ended: Vec<Trace> = records
            .into_iter()
            .map(|record| Trace {
                endpoint: None,
                link: record.link,
                protocol: record.protocol.to_string(),
                consumer: record.consumer,
                endpoint_address: record.endpoint,
                backend: record.backend,
                from: record.opened,
                until: Some(record.ended),
                state: record.cause.name(),
                to_service: record.to_service,
                to_consumer: record.to_consumer,
            })
            .collect();
        let trace = |flow: &SessionRecord, age: u32| Trace {
            endpoint: known.names.get(&flow.endpoint).map(|facts| facts.name.clone()),
            link: flow.link,
            protocol: flow.protocol.to_string(),
            consumer: flow.consumer(),
            endpoint_address: flow.asked(),
            backend: flow.backend(),
            from: before(now, age),
            until: None,
            state: "live",
            to_service: flow.to_service,
            to_consumer: flow.to_consumer,
        };
        let has_ended = |live: &Trace| {
            let same = |end: &Trace| {
                (&end.protocol, end.consumer, end.endpoint_address, end.backend)
                    == (&live.protocol, live.consumer, live.endpoint_address, live.backend)
            };
            ended.iter().any(|end| same(end) && end.until >= Some(now))
        };
        let traces = |of: &Sessions| {
            let live = of.list.iter().filter(|flow| flow.phase.is_live());
            live.map(|flow| trace(flow, of.now.since(flow.opened))).collect::<Vec<_>>()
        };
        let mut list: Vec<Trace> = live.iter().flat_map(traces).collect();
        list.retain(|live| sought.lived(live.from, now) && !has_ended(live));
        list.sort_by_key(|live| std::cmp::Reverse(live.from));
        list.extend(ended);
        let cut = list.len().saturating_sub(LIMIT) as u64;
        list.truncate(LIMIT);
        let mut warnings = Vec::new();
        if self.flow_log.is_none() {
            warnings.push("there is no flow log: only live sessions are known".to_owned());
        }
        if behind {
            warnings.push("the flow log cannot be written: the latest ends are missing".to_owned());
        }
        Ok(Traces { list, more: more + cut, losses, warnings })
    }
}
