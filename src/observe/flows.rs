//! Live sessions: every worker is asked at once, and the answers are given names.

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Known, Observer};
use crate::dataplane::queries::{Request, Sessions};
use crate::dataplane::record::{FlowFilter, SessionRecord, Tick};
use crate::snapshot::EndpointId;
use crate::types::{Flow, Side};

/// How long workers may take to answer; a batch takes microseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Not every worker answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{answered} of {asked} workers answered within {} s", ANSWER_TIMEOUT.as_secs())]
pub struct Silent {
    /// Workers that answered.
    pub answered: usize,
    /// Workers asked.
    pub asked: usize,
}

impl Observer {
    /// Live sessions of `endpoint`, or of all, at most `limit` of them; sorted by endpoint and consumer.
    ///
    /// # Errors
    /// A worker has not answered within two seconds.
    pub fn flows(&self, endpoint: Option<EndpointId>, limit: usize) -> Result<Vec<Flow>, Silent> {
        let known = self.known();
        let answers = self.ask(FlowFilter { endpoint, ..FlowFilter::default() }, limit)?;
        let mut flows: Vec<Flow> = answers
            .iter()
            .flat_map(|answer| answer.list.iter().map(|session| self.named(&known, session, answer)))
            .collect();
        flows.sort_by(|a, b| order(a).cmp(&order(b)));
        flows.truncate(limit);
        Ok(flows)
    }

    #[allow(clippy::disallowed_methods, reason = "whoever asks waits in real time")]
    pub(super) fn ask(&self, filter: FlowFilter, limit: usize) -> Result<Vec<Sessions>, Silent> {
        let asked = self.mailboxes.len();
        let (reply, answers) = mpsc::sync_channel(asked.max(1));
        for mailbox in &self.mailboxes {
            mailbox.send(Request::Flows { filter, limit, reply: reply.clone() });
        }
        drop(reply);
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut all = Vec::new();
        for answered in 0..asked {
            let left = deadline.saturating_duration_since(Instant::now());
            all.push(answers.recv_timeout(left).map_err(|_| Silent { answered, asked })?);
        }
        Ok(all)
    }

    fn named(&self, known: &Known, record: &SessionRecord, answer: &Sessions) -> Flow {
        let (flow, snapshot) = (&record.flow, self.snapshot.load());
        let attachment = snapshot.attachments.get(usize::from(record.attachment.0));
        Flow {
            endpoint: known
                .names
                .get(&record.endpoint)
                .map_or_else(|| format!("#{}", record.endpoint.0), |facts| facts.name.clone()),
            link_identifier: flow.link,
            vnet: attachment.map(|attachment| attachment.vnet.to_string()).unwrap_or_default(),
            protocol: flow.protocol.to_string(),
            consumer: side(flow.consumer()),
            endpoint_address: side(flow.endpoint()),
            nat: side(flow.nat()),
            backend: side(flow.backend()),
            state: record.phase.name().to_owned(),
            idle_seconds: answer.now.since(record.last) / Tick::PER_SECOND,
            packets_to_service: flow.to_service.0,
            bytes_to_service: flow.to_service.1,
            packets_to_consumer: flow.to_consumer.0,
            bytes_to_consumer: flow.to_consumer.1,
            worker: answer.worker,
        }
    }
}

/// An address and a port as JSON.
#[must_use]
pub fn side((ip, port): (IpAddr, u16)) -> Side {
    Side { ip: ip.to_string(), port }
}

fn order(flow: &Flow) -> (&str, &str, &str, u16, u16) {
    (&flow.endpoint, &flow.vnet, &flow.consumer.ip, flow.consumer.port, flow.nat.port)
}
