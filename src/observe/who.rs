//! Who used a NAT address and port: live sessions as the workers tell, ended ones from the flow log.

use std::io;
use std::net::SocketAddr;

use jiff::Timestamp;

use super::Observer;
use super::flow_log::{Found, Losses, Record, Sought, before};
use super::flows::Silent;
use crate::dataplane::queries::Sessions;
use crate::dataplane::record::{FlowFilter, FlowRecord, SessionRecord};

/// Sessions listed at most.
pub const LIMIT: usize = 100;

/// One session that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `group/name` of the endpoint, where it is known here; a connection's name otherwise goes by its link.
    pub endpoint: Option<String>,
    /// Between whom it is, and what it has carried.
    pub flow: FlowRecord,
    /// When it was opened.
    pub from: Timestamp,
    /// When it ended; `None`: it lives.
    pub until: Option<Timestamp>,
    /// `live`, or why it ended.
    pub state: &'static str,
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
            .map(|Record { flow, reason, opened, ended }| Trace {
                endpoint: None,
                flow,
                from: opened,
                until: Some(ended),
                state: reason.name(),
            })
            .collect();
        let trace = |session: &SessionRecord, age: u32| Trace {
            endpoint: known.names.get(&session.endpoint).map(|facts| facts.name.clone()),
            flow: session.flow,
            from: before(now, age),
            until: None,
            state: "live",
        };
        let has_ended = |live: &Trace| {
            let between = |trace: &Trace| (trace.flow.protocol, trace.flow.addresses);
            ended.iter().any(|end| between(end) == between(live) && end.until >= Some(now))
        };
        let traces = |of: &Sessions| {
            let live = of.list.iter().filter(|session| session.phase.is_live());
            live.map(|session| trace(session, of.now.since(session.opened))).collect::<Vec<_>>()
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
