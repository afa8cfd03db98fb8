//! A few packets and sessions, as workers would tell of them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::SegQueue;
use privlink::api::ApiState;
use privlink::dataplane::counters::{self, NatPortUse, NatPorts, Probes, VerdictCounts, WorkerCounters, add};
use privlink::dataplane::queries::{Mailbox, Request, Sessions};
use privlink::dataplane::record::{Addresses, FlowEndReason, FlowRecord, Phase, RecordRing, SessionRecord};
use privlink::dataplane::session::Tick;
use privlink::observe::flow_log::{FlowLog, Limits};
use privlink::observe::hooks::HookCounts;
use privlink::snapshot::{AttachmentId, EndpointId, Protocol};

use super::lab::noon;
use crate::support::served::Traffic;

/// The workers' clock when the log is written: an hour after they began, in tenths of a second.
const NOW: u32 = 36_000;

/// Two workers.
pub(crate) struct Workers {
    counters: [Arc<WorkerCounters>; 2],
    ended: Arc<RecordRing>,
    log: Arc<FlowLog>,
    live: Arc<Mutex<Vec<SessionRecord>>>,
}

impl Workers {
    /// Workers that have done nothing yet, whose log is below `directory`.
    pub(crate) fn new(directory: &std::path::Path) -> Self {
        let ended = Arc::new(RecordRing::new(16));
        let clock = Box::new(|| (NOW, noon()));
        let rings = vec![Arc::clone(&ended)];
        let log = Arc::new(FlowLog::new(&directory.join("state"), Limits::default(), rings, clock));
        let counters = std::array::from_fn(|_| Arc::new(WorkerCounters::new()));
        Self { counters, ended, log, live: Arc::default() }
    }

    /// What they tell.
    pub(crate) fn traffic(&self) -> Traffic {
        let queue = Arc::new(SegQueue::new());
        let (asked, live) = (Arc::clone(&queue), Arc::clone(&self.live));
        let answer = move || {
            while let Some(Request::Flows { filter, limit, reply }) = asked.pop() {
                let live = live.lock().unwrap_or_else(PoisonError::into_inner);
                let list = live.iter().filter(|one| filter.matches(one)).take(limit).copied().collect();
                let _ = reply.send(Sessions { worker: 1, now: Tick(NOW), list });
            }
        };
        Traffic {
            counters: self.counters.to_vec(),
            mailboxes: vec![Mailbox::new(queue, Arc::new(answer))],
            flow_log: Some(Arc::clone(&self.log)),
            hooks: Some(Arc::new(HookCounts::default())),
        }
    }

    /// Has packets pass through the endpoint `orders`, and some be dropped.
    pub(crate) fn work(&self, state: &ApiState) {
        let orders = state.control.view().endpoint("orders").expect("an endpoint");
        let (id, link) = (orders.id, orders.connection.link);
        for (worker, counters) in (0..).zip(&self.counters) {
            let dropped = std::array::from_fn(|reason| reason as u64 % 4 * worker);
            let (forwarded, drops) = (900 + worker, dropped.iter().sum::<u64>());
            let read = forwarded + drops + 7;
            let (handed_in, handed_out, held, answered, originated) = (3, 8, 2, 5, 1);
            counters.publish(&VerdictCounts {
                read,
                handed_in,
                forwarded,
                handed_out,
                held,
                dropped,
                answered,
                originated,
            });
            counters.publish_probes(Probes { longest: 2 + worker, refused: worker });
        }
        let chunks = self.counters[0].grow(id.0 as usize + 1);
        let counted = counters::find(&chunks, id).expect("room");
        for (counter, amount) in [
            (&counted.packets_to_service, 12),
            (&counted.bytes_to_service, 3_400),
            (&counted.packets_to_consumer, 10),
            (&counted.bytes_to_consumer, 5_000_000),
            (&counted.sessions_opened, 4),
            (&counted.sessions, 2),
            (&counted.rate_limited, 6),
        ] {
            add(counter, amount);
        }
        let nat_ip = ip("10.20.99.4");
        let by_address = vec![NatPortUse { nat_ip, used: 2, quarantined: 1, free: 1_000 }];
        self.counters[0].publish_nat_ports(NatPorts { by_address, full: Vec::new() });
        let live = [live(id, link, 40_001, Phase::Established, 1_024), live(id, link, 40_002, Phase::Closing, 1_025)];
        self.live.lock().unwrap_or_else(PoisonError::into_inner).extend(live);
        for (reason, nat) in
            [(FlowEndReason::Closed, 1_026), (FlowEndReason::Reset, 1_024), (FlowEndReason::Idle, 1_024)]
        {
            self.ended.push(ended(link, reason, nat));
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn live(endpoint: EndpointId, link: u32, port: u16, phase: Phase, nat: u16) -> SessionRecord {
    SessionRecord {
        flow: FlowRecord {
            addresses: Addresses {
                consumer: ip("10.1.1.2").into(),
                endpoint: ip("10.1.9.4").into(),
                nat: ip("10.20.99.4").into(),
                backend: ip("10.20.0.2").into(),
                consumer_port: port,
                endpoint_port: 5_432,
                nat_port: nat,
                backend_port: 15_432,
            },
            to_service: (6, 1_700),
            to_consumer: (5, 2_500_000),
            link,
            protocol: Protocol::Tcp,
        },
        endpoint,
        opened: Tick(NOW - 120),
        last: Tick(NOW - 30),
        attachment: AttachmentId(0),
        phase,
        end: None,
    }
}

fn ended(link: u32, reason: FlowEndReason, nat: u16) -> SessionRecord {
    let session = live(EndpointId(0), link, 40_000, Phase::Closing, nat).ended(reason, Tick(NOW - 300));
    let flow = FlowRecord { to_service: (7, 900), to_consumer: (8, 4_000), ..session.flow };
    SessionRecord { flow, opened: Tick(NOW - 600), ..session }
}
