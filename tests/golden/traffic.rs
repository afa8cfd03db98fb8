//! A few packets and sessions, as workers would tell of them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::SegQueue;
use privlink::api::ApiState;
use privlink::dataplane::counters::{self, NatPortUse, NatPorts, Probes, VerdictCounts, WorkerCounters, add};
use privlink::dataplane::queries::{FlowRecord, Mailbox, Request};
use privlink::dataplane::record::{Ended, EndedRing, FlowEndReason};
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
    ended: Arc<EndedRing>,
    log: Arc<FlowLog>,
    live: Arc<Mutex<Vec<FlowRecord>>>,
}

impl Workers {
    /// Workers that have done nothing yet, whose log is below `directory`.
    pub(crate) fn new(directory: &std::path::Path) -> Self {
        let ended = Arc::new(EndedRing::new(16));
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
            while let Some(Request::Flows { wanted, limit, reply }) = asked.pop() {
                let live = live.lock().unwrap_or_else(PoisonError::into_inner);
                let is_wanted = |one: &&FlowRecord| {
                    wanted.endpoint.is_none_or(|endpoint| endpoint == one.endpoint)
                        && wanted.nat.is_none_or(|nat| nat == one.nat)
                        && wanted.backend.is_none_or(|backend| backend == one.backend)
                };
                let _ = reply.send(live.iter().filter(is_wanted).take(limit).cloned().collect());
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
        let live = [live(id, link, 40_001, "established", 1_024), live(id, link, 40_002, "closing", 1_025)];
        self.live.lock().unwrap_or_else(PoisonError::into_inner).extend(live);
        for (cause, nat) in
            [(FlowEndReason::Closed, 1_026), (FlowEndReason::Reset, 1_024), (FlowEndReason::Idle, 1_024)]
        {
            self.ended.push(ended(link, cause, nat));
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn live(endpoint: EndpointId, link: u32, port: u16, state: &'static str, nat: u16) -> FlowRecord {
    FlowRecord {
        worker: 1,
        endpoint,
        link,
        attachment: AttachmentId(0),
        protocol: Protocol::Tcp,
        consumer: (ip("10.1.1.2"), port),
        endpoint_address: (ip("10.1.9.4"), 5_432),
        nat: (ip("10.20.99.4"), nat),
        backend: (ip("10.20.0.2"), 15_432),
        state,
        live: state == "established",
        age: 120,
        idle_seconds: 3,
        to_service: (6, 1_700),
        to_consumer: (5, 2_500_000),
    }
}

fn ended(link: u32, cause: FlowEndReason, nat: u16) -> Ended {
    Ended {
        link,
        protocol: Protocol::Tcp,
        cause,
        consumer: (ip("10.1.1.2"), 40_000),
        endpoint: (ip("10.1.9.4"), 5_432),
        nat: (ip("10.20.99.4"), nat),
        backend: (ip("10.20.0.2"), 15_432),
        opened: Tick(NOW - 600),
        ended: Tick(NOW - 300),
        to_service: (7, 900),
        to_consumer: (8, 4_000),
    }
}
