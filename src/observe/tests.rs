//! Sums, names and explanations over workers made of counters and a queue.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use ipnet::IpNet;

use super::explain::{Question, Unanswerable};
use super::*;
use crate::dataplane::counters::{add, find};
use crate::dataplane::queries::{Request, Sessions};
use crate::dataplane::record::{Addresses, FlowRecord, Phase, SessionRecord, Tick};
use crate::snapshot::tables::{Rule, Stamp};
use crate::snapshot::{
    Attachment, AttachmentId, Backend, ConnectionState, Endpoint, Generation, PortMap, Protocol, Resource,
    SnapshotBuilder, Target, TargetId, Timeouts,
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("literal prefix")
}

/// A worker's mailbox, answered by a thread until `stop`.
fn answering(worker: u16, stop: &Arc<AtomicBool>) -> Mailbox {
    let queue = Arc::new(SegQueue::new());
    let (served, stop) = (Arc::clone(&queue), Arc::clone(stop));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            while let Some(Request::Flows { filter, limit, reply }) = served.pop() {
                let all = [7, 8].map(|id| record(worker, EndpointId(id)));
                let list = all.into_iter().filter(|session| filter.matches(session)).take(limit).collect();
                let _ = reply.send(Sessions { worker, now: Tick(130), list });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    Mailbox::new(queue, Arc::new(|| ()))
}

fn record(worker: u16, endpoint: EndpointId) -> SessionRecord {
    SessionRecord {
        flow: FlowRecord {
            addresses: Addresses {
                consumer: ip("10.1.0.5").into(),
                endpoint: ip("10.1.9.4").into(),
                nat: ip("10.20.99.4").into(),
                backend: ip("10.20.0.2").into(),
                consumer_port: 40_000 + worker,
                endpoint_port: 5432,
                nat_port: 1024,
                backend_port: 5432,
            },
            to_service: (2, 120),
            to_consumer: (1, 60),
            link: 40 + endpoint.0,
            protocol: Protocol::Tcp,
        },
        endpoint,
        opened: Tick(30),
        last: Tick(100),
        attachment: AttachmentId(0),
        phase: Phase::Established,
        end: None,
    }
}

fn facts(live: &[u32]) -> Facts {
    let endpoints = live
        .iter()
        .map(|&id| EndpointFacts {
            id: EndpointId(id),
            name: format!("default/e{id}"),
            resource: "default/orders-db".to_owned(),
            link: 40 + id,
        })
        .collect();
    Facts {
        endpoints,
        resources: vec!["default/orders-db".to_owned(), "default/idle".to_owned()],
        backends: Vec::new(),
        nat_pools: [(ip("10.20.99.5"), 2)].into(),
    }
}

/// Two workers that have each counted `amount` bytes to the service for endpoints 7 and 8.
fn workers(amount: u64) -> Vec<Arc<WorkerCounters>> {
    (0..2)
        .map(|_| {
            let worker = Arc::new(WorkerCounters::new());
            let chunks = worker.grow(9);
            for id in [7, 8] {
                let counters = find(&chunks, EndpointId(id)).expect("grown");
                add(&counters.bytes_to_service, amount);
                add(&counters.packets_to_service, 2);
                add(&counters.sessions, 1);
                add(&counters.sessions_opened, 3);
            }
            let mut counts = VerdictCounts {
                read: 10,
                handed_in: 2,
                forwarded: 6,
                handed_out: 1,
                held: 1,
                ..VerdictCounts::default()
            };
            counts.dropped[DropReason::NotApprovedPending as usize] = 3;
            counts.dropped[DropReason::Malformed as usize] = 1;
            worker.publish(&counts);
            let of = NatPortUse { nat_ip: ip("10.20.99.4"), used: 1, quarantined: 2, free: 100 };
            worker.publish_nat_ports(NatPorts { by_address: vec![of], full: Vec::new() });
            worker
        })
        .collect()
}

fn observer(
    snapshot: Snapshot,
    mailboxes: Vec<Mailbox>,
    facts: impl Fn() -> Facts + Send + Sync + 'static,
) -> Observer {
    Observer::new(Arc::new(ArcSwap::from_pointee(snapshot)), workers(500), mailboxes, Box::new(facts))
}

/// Value of the one sample whose name and labels are `series`.
fn value(text: &str, series: &str) -> u64 {
    let prefix = format!("{series} ");
    let mut found = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    let value = found.next().unwrap_or_else(|| panic!("{series} is missing in\n{text}"));
    assert!(found.next().is_none(), "{series} appears twice");
    value.parse().expect("a number")
}

#[test]
fn metrics_carry_the_documented_names_and_the_sum_of_law_four() {
    let text = metrics::render(&observer(Snapshot::empty(), Vec::new(), || facts(&[7, 8]))).expect("renders");
    for worker in 0..2 {
        let packets = |verdict: &str| {
            value(&text, &format!("privlink_packets_total{{worker=\"{worker}\",verdict=\"{verdict}\"}}"))
        };
        assert_eq!(
            packets("read") + packets("handed_in"),
            packets("forwarded") + packets("dropped") + packets("handed_out") + packets("held"),
        );
        let drops: u64 = DropReason::ALL
            .iter()
            .map(|reason| {
                value(&text, &format!("privlink_drops_total{{worker=\"{worker}\",reason=\"{}\"}}", reason.name()))
            })
            .sum();
        assert_eq!(drops, packets("dropped"));
        assert_eq!(drops, 4);
    }
    for (series, expected) in [
        (r#"privlink_endpoint_bytes_total{endpoint="default/e7",direction="to_service"}"#, 1_000),
        (r#"privlink_endpoint_bytes_total{endpoint="default/e7",direction="to_consumer"}"#, 0),
        (r#"privlink_endpoint_packets_total{endpoint="default/e8",direction="to_service"}"#, 4),
        (r#"privlink_resource_bytes_total{resource="default/orders-db",direction="to_service"}"#, 2_000),
        (r#"privlink_resource_packets_total{resource="default/orders-db",direction="to_service"}"#, 8),
        (r#"privlink_resource_bytes_total{resource="default/idle",direction="to_service"}"#, 0),
        (r#"privlink_sessions{endpoint="default/e7"}"#, 2),
        (r#"privlink_sessions_opened_total{endpoint="default/e7"}"#, 6),
        (r#"privlink_nat_ports{nat_ip="10.20.99.4",state="used"}"#, 2),
        (r#"privlink_nat_ports{nat_ip="10.20.99.4",state="quarantined"}"#, 4),
        (r#"privlink_nat_ports{nat_ip="10.20.99.4",state="free"}"#, 200),
        (r#"privlink_nat_ports{nat_ip="10.20.99.5",state="used"}"#, 0),
        (r#"privlink_nat_ports{nat_ip="10.20.99.5",state="free"}"#, 129_024),
        (r#"privlink_reloads_total{outcome="refused"}"#, 0),
        ("privlink_last_reload_applied", 1),
        ("privlink_log_lost_total", 0),
        (r#"privlink_packets_total{worker="0",verdict="answered"}"#, 0),
        (r#"privlink_packets_total{worker="1",verdict="originated"}"#, 0),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_totals_of_a_resource_never_fall_when_an_endpoint_is_deleted() {
    let deleted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&deleted);
    let observer = observer(Snapshot::empty(), Vec::new(), move || {
        if seen.load(Ordering::Relaxed) { facts(&[8]) } else { facts(&[7, 8]) }
    });
    observer.refresh();
    deleted.store(true, Ordering::Relaxed);
    let sample = observer.sample();
    assert_eq!(sample.endpoints.keys().collect::<Vec<_>>(), ["default/e8"]);
    let resource = sample.resources["default/orders-db"];
    assert_eq!((resource.bytes_to_service, resource.sessions_opened), (2_000, 12));
    assert_eq!(resource.sessions, 2, "a deleted endpoint has no live session");
}

#[test]
fn totals_name_only_drops_that_occurred() {
    let totals = totals(&observer(Snapshot::empty(), Vec::new(), Facts::default).verdicts());
    assert_eq!((totals.read, totals.forwarded, totals.dropped), (20, 12, 8));
    let drops: Vec<_> = totals.drops.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(drops, [("malformed", 2), ("not_approved_pending", 6)]);
}

#[test]
fn flows_of_all_workers_come_together_under_one_limit() {
    let stop = Arc::new(AtomicBool::new(false));
    let mailboxes = (0..2).map(|worker| answering(worker, &stop)).collect();
    let observer = observer(snapshot(ConnectionState::Approved), mailboxes, || facts(&[7]));
    let all = observer.flows(None, 10).expect("answered");
    let names: Vec<_> = all.iter().map(|flow| (flow.endpoint.as_str(), flow.worker)).collect();
    assert_eq!(names, [("#8", 0), ("#8", 1), ("default/e7", 0), ("default/e7", 1)]);
    assert_eq!(all[0].vnet, "default/spoke");
    assert_eq!(all[0].consumer.to_string(), "10.1.0.5:40000");
    assert_eq!(observer.flows(None, 3).expect("answered").len(), 3);
    assert_eq!(observer.flows(Some(EndpointId(7)), 10).expect("answered").len(), 2);
    stop.store(true, Ordering::Relaxed);
}

#[test]
fn a_silent_worker_is_reported_after_two_seconds() {
    let stop = Arc::new(AtomicBool::new(false));
    let silent = Mailbox::new(Arc::new(SegQueue::new()), Arc::new(|| ()));
    let observer = observer(Snapshot::empty(), vec![answering(0, &stop), silent], Facts::default);
    let error = observer.flows(None, 10).expect_err("one is silent");
    assert_eq!((error.answered, error.asked), (1, 2));
    stop.store(true, Ordering::Relaxed);
}

/// One endpoint at 10.1.9.4 of `spoke` whose backend is `backends`, bound to tcp 5432.
fn snapshot(state: ConnectionState) -> Snapshot {
    let mut builder = SnapshotBuilder::default();
    builder.attachments.push(Attachment {
        vnet: "default/spoke".into(),
        vnet_number: 0,
        peers: Vec::new(),
        sources: [net("10.1.0.0/16")].iter().collect(),
        mtu: 1_500,
        unsent: crate::snapshot::prefixes::PrefixSet::default(),
        excluded_workloads: vec![("Batch".into(), [net("10.1.77.0/24")].iter().collect())],
    });
    let port = PortMap { protocol: Protocol::Tcp, first: 5432, last: 5433, backend_first: 15432 };
    let target = Target {
        subresource: "".into(),
        member: "".into(),
        backends: vec![
            Backend { address: ip("10.20.0.2"), state: crate::snapshot::BackendState::Up },
            Backend { address: ip("10.20.0.3"), state: crate::snapshot::BackendState::Draining },
        ],
        ports: vec![port],
        icmp: false,
        silent: Vec::new(),
    };
    let drained = Target {
        backends: vec![Backend { address: ip("10.20.0.3"), state: crate::snapshot::BackendState::Draining }],
        ..target.clone()
    };
    let resource = builder.resource(Resource {
        retired: Vec::new(),
        name: "default/orders-db".into(),
        provider: AttachmentId(1),
        nat: vec![ip("10.20.99.4")],
        targets: vec![target, drained],
        timeouts: Timeouts::default(),
        balance: crate::snapshot::Balance::LeastSessions,
        answer: None,
        max_sessions: u32::MAX,
        meter: None,
    });
    let rule = Rule {
        name: "no-printers".into(),
        allow: false,
        protocol: None,
        sources: Some([net("10.1.66.0/24")].iter().collect()),
        destinations: None,
        ports: Vec::new(),
    };
    let endpoint = Endpoint {
        link: 7,
        id: EndpointId(7),
        name: "default/orders".into(),
        state,
        resource,
        sources: None,
        rules: Some(vec![rule].into()),
        max_sessions: u32::MAX,
        meter: None,
    };
    let stamp = Stamp { current: Generation(1), valid_since: Generation(1) };
    builder.endpoint(0, endpoint, &[(ip("10.1.9.4"), TargetId(0)), (ip("10.1.9.5"), TargetId(1))], stamp);
    builder.build(1)
}

#[test]
fn explain_names_the_check_that_decides() {
    use ConnectionState::{Approved, Disconnected, Pending, Rejected};
    for (state, source, destination, protocol, port, check, reason) in [
        (Approved, "10.1.0.5", "10.1.9.4", "tcp", 5432, 7, None),
        (Approved, "127.0.0.1", "10.1.9.4", "tcp", 5432, 1, Some("spoofed_source")),
        (Approved, "10.1.9.4", "10.1.9.4", "tcp", 5432, 1, Some("spoofed_source")),
        (Approved, "10.1.0.5", "10.1.9.9", "tcp", 5432, 3, Some("unknown_endpoint")),
        (Pending, "10.1.0.5", "10.1.9.4", "tcp", 5432, 4, Some("not_approved_pending")),
        (Rejected, "10.1.0.5", "10.1.9.4", "tcp", 5432, 4, Some("not_approved_rejected")),
        (Disconnected, "10.1.0.5", "10.1.9.4", "tcp", 5432, 4, Some("not_approved_disconnected")),
        (Approved, "10.2.0.5", "10.1.9.4", "tcp", 5432, 2, Some("source_not_allowed")),
        (Pending, "10.2.0.5", "10.1.9.4", "tcp", 5432, 2, Some("source_not_allowed")),
        (Approved, "10.2.0.5", "10.1.9.9", "tcp", 5432, 2, Some("source_not_allowed")),
        (Approved, "10.1.77.5", "10.1.9.4", "tcp", 5432, 4, Some("workload_excluded")),
        (Approved, "10.1.66.5", "10.1.9.4", "tcp", 5432, 5, Some("denied_by_rule")),
        (Approved, "10.1.0.5", "10.1.9.4", "tcp", 22, 6, Some("port_not_exposed")),
        (Approved, "10.1.0.5", "10.1.9.4", "udp", 5432, 6, Some("port_not_exposed")),
        (Approved, "10.1.0.5", "10.1.9.4", "icmp", 0, 6, Some("port_not_exposed")),
        (Approved, "10.1.0.5", "10.1.9.5", "tcp", 5432, 7, Some("no_backend")),
    ] {
        let observer = observer(snapshot(state), Vec::new(), Facts::default);
        let question = Question {
            vnet: "Spoke".to_owned(),
            source: ip(source),
            destination: ip(destination),
            protocol: protocol.to_owned(),
            port,
        };
        let answer = observer.explain(&question).expect("answerable");
        assert_eq!((answer.check, answer.reason.as_deref()), (check, reason), "{question:?}: {}", answer.message);
        assert_eq!(answer.admitted, reason.is_none());
        if answer.admitted {
            assert_eq!(answer.backends, ["10.20.0.2:15432"], "the drained one takes no new sessions");
        }
    }
}

#[test]
fn an_unattached_vnet_and_an_unknown_protocol_cannot_be_explained() {
    let observer = observer(snapshot(ConnectionState::Approved), Vec::new(), Facts::default);
    let question = Question {
        vnet: "other".to_owned(),
        source: ip("10.1.0.5"),
        destination: ip("10.1.9.4"),
        protocol: "tcp".to_owned(),
        port: 1,
    };
    let error = observer.explain(&question).expect_err("not attached");
    assert_eq!(
        error,
        Unanswerable::NoAttachment { vnet: "other".to_owned(), attached: vec!["default/spoke".to_owned()] }
    );
    let question = Question { vnet: "default/spoke".to_owned(), protocol: "sctp".to_owned(), ..question };
    assert_eq!(observer.explain(&question), Err(Unanswerable::UnknownProtocol("sctp".to_owned())));
}

#[test]
fn a_resource_is_out_of_ports_where_no_worker_and_no_address_has_one_for_the_same_server() {
    let (first, second) = (ip("10.20.99.4"), ip("10.20.99.5"));
    let full = |nat_ip, last: u8| FullPool {
        nat_ip,
        protocol: Protocol::Tcp,
        backend: IpAddr::from([10, 20, 0, last]),
        backend_port: 80,
    };
    let exhausted = |workers: [Vec<FullPool>; 2], nat: &[IpAddr]| {
        let publish = |full| {
            let worker = WorkerCounters::new();
            worker.publish_nat_ports(NatPorts { by_address: Vec::new(), full });
            Arc::new(worker)
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
        let workers = workers.into_iter().map(publish).collect();
        Observer::new(snapshot, workers, Vec::new(), Box::new(Facts::default)).exhausted(nat)
    };
    let both = |pools: &[FullPool]| [pools.to_vec(), pools.to_vec()];
    assert_eq!(exhausted(both(&[full(first, 2)]), &[first]), [full(first, 2)]);
    assert_eq!(exhausted([vec![full(first, 2)], vec![]], &[first]), [], "the other worker has some");
    assert_eq!(exhausted([vec![full(first, 2)], vec![full(first, 3)]], &[first]), [], "two servers, half full each");
    assert_eq!(exhausted(both(&[full(first, 2)]), &[first, second]), [], "the other address has some");
    assert_eq!(exhausted(both(&[full(first, 2), full(second, 3)]), &[first, second]), []);
    let all = both(&[full(first, 2), full(second, 2)]);
    assert_eq!(exhausted(all.clone(), &[first, second]), [full(first, 2)]);
    assert_eq!(exhausted(all, &[ip("fd20::99:1"), first]), [full(first, 2)], "another family's address is no help");
}
