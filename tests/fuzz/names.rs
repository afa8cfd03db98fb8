//! What a resolver makes of any bytes: a private zone with everything in it, one that goes on at the upstream, one that is
//! locked down. Shared by the fuzz target and by the test that replays its corpus.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use privlink::dns::message::Transport;
use privlink::dns::resolver::{Handled, Resolver};
use privlink::snapshot::ConnectionState;
use privlink::snapshot::dns::{
    Alias, DnsPlan, Mx, Node, Owner, RecordData, RecordSet, ResolutionPolicy, ResolverPlan, Srv, Zone,
};

const VNET: &str = "default/spoke";

/// The one address that anything here leads to.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 1, 9, 8);

/// What inputs reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) answered: u64,
    pub(crate) silent: u64,
    pub(crate) later: u64,
    pub(crate) addresses: u64,
}

/// The first byte says who asks and how; the rest is the message. It is put twice: an answer that was kept is the same.
pub(crate) fn dns(data: &[u8]) -> Told {
    let Some((how, message)) = data.split_first() else { return Told::default() };
    let (stranger, by) = (how & 2 != 0, if how & 1 != 0 { Transport::Stream } else { Transport::Datagram });
    let client = if stranger { IpAddr::from([172, 16, 0, 9]) } else { IpAddr::from([10, 1, 0, 5]) };
    let plans = Arc::new(ArcSwap::from_pointee(plan()));
    let Some(resolver) = Resolver::new(VNET, plans, Arc::default()) else { unreachable!("the plan has it") };
    let Some(plan) = resolver.plan() else { unreachable!("the plan has it") };
    let mut told = Told::default();
    let (mut first, mut again) = (vec![1; 7], Vec::new());
    let outcome = resolver.at_once(&plan, message, (client, by), now(), &mut first);
    assert_eq!(outcome, resolver.at_once(&plan, message, (client, by), now(), &mut again), "the same, asked again");
    match outcome {
        Handled::Answered => {
            assert_eq!(first, again, "the same, asked again");
            told.answered += 1;
            told.addresses += judged(message, &first, stranger, by);
        }
        Handled::Silence => {
            assert!(message.len() < 12 || message[2] & 0x80 != 0, "every query is answered");
            told.silent += 1;
        }
        Handled::Later => {
            assert!(!stranger && message[2] & 1 != 0, "others are asked for those who may ask, and want it");
            told.later += 1;
        }
    }
    told
}

/// What has to hold of every answer; how many addresses it tells.
fn judged(query: &[u8], answer: &[u8], stranger: bool, by: Transport) -> u64 {
    let said = Message::from_vec(answer).unwrap_or_else(|error| panic!("{answer:?} is no message: {error}"));
    assert_eq!(answer[..2], query[..2], "the identifier is repeated");
    assert!(answer[2] & 0x80 != 0, "an answer, not a question");
    assert_eq!((answer[2] ^ query[2]) & 0x79, 0, "operation and RD are repeated");
    if let Some(question) = said.queries.first() {
        let length = question.name().len() + usize::from(!question.name().is_root()) + 4;
        assert_eq!(answer[12..11 + length], query[12..11 + length], "the question is repeated, letter by letter");
    } else {
        assert!(answer.len() == 12, "a header alone");
    }
    if by == Transport::Datagram {
        let most = said.edns.as_ref().map_or(512, |_| 1_232);
        assert!(answer.len() <= most, "{} bytes in a datagram", answer.len());
    }
    if stranger {
        let code = said.metadata.response_code;
        assert_ne!(code, ResponseCode::NoError, "a stranger is told nothing");
        assert_ne!(code, ResponseCode::NXDomain, "a stranger is told nothing");
        assert!(answer.len() <= query.len() + 6, "and has nothing to gain");
    }
    if said.metadata.truncation || said.metadata.response_code != ResponseCode::NoError {
        let addresses = said.answers.iter().filter(|record| matches!(record.data, RData::A(_)));
        assert_eq!(addresses.count(), 0, "no address without success");
    }
    let addresses = said.answers.iter().filter_map(|record| {
        let RData::A(address) = &record.data else { return None };
        Some(address.0)
    });
    addresses.map(|address| assert_eq!(address, PRIVATE)).count() as u64
}

fn plan() -> DnsPlan {
    let owner = |state| {
        let (endpoint, vnet, member) = ("default/e".into(), "default/v".into(), "".into());
        Owner { endpoint, vnet, member, address: PRIVATE.into(), state }
    };
    let hosts = |state| Node { owners: vec![owner(state)], ..Node::default() };
    let alias = |to: &str| Node { aliases: vec![Alias { to: to.into(), claims: 1 }], ..Node::default() };
    let set = |data| RecordSet { ttl: 300, data };
    let written = |data| Node { records: Some(vec![set(data)].into()), ..Node::default() };
    let names = [
        ("a.blob.core.windows.net", alias("a.privatelink.blob.core.windows.net")),
        ("a.privatelink.blob.core.windows.net", hosts(ConnectionState::Approved)),
        ("p.blob.core.windows.net", alias("p.privatelink.blob.core.windows.net")),
        ("p.privatelink.blob.core.windows.net", hosts(ConnectionState::Pending)),
        ("www.corp", written(RecordData::A(vec![PRIVATE]))),
        ("*.wild.corp", written(RecordData::A(vec![PRIVATE]))),
        ("wild.corp", Node { below: 1, ..Node::default() }),
        ("mail.corp", written(RecordData::Mx(vec![Mx { preference: 10, exchange: "www.corp".into() }]))),
        (
            "_x._tcp.corp",
            written(RecordData::Srv(vec![Srv { priority: 1, weight: 2, port: 3, target: "www.corp".into() }])),
        ),
        ("txt.corp", written(RecordData::Txt(vec![vec!["x".repeat(255); 4], vec!["y".repeat(200); 4]]))),
        ("ptr.corp", written(RecordData::Ptr(vec!["www.corp".into()]))),
        ("one.corp", written(RecordData::Cname("two.corp".into()))),
        ("two.corp", written(RecordData::Cname("one.corp".into()))),
        ("out.corp", written(RecordData::Cname("www.example.com".into()))),
    ];
    let zone = |policy| Zone { policy, own: None, claims: 1 };
    let resolver = ResolverPlan {
        ttl: Duration::from_secs(10),
        answer: vec![ConnectionState::Approved],
        sources: vec!["10.1.0.0/16".parse().unwrap_or_default()],
        names: names.into_iter().map(|(name, node)| (name.into(), node)).collect(),
        zones: [
            ("privatelink.blob.core.windows.net".into(), zone(ResolutionPolicy::NxDomainRedirect)),
            ("corp".into(), zone(ResolutionPolicy::Default)),
        ]
        .into_iter()
        .collect(),
        lockdown: Some(Arc::new(["table.core.windows.net".into()].into())),
        ..ResolverPlan::default()
    };
    DnsPlan { resolvers: [(VNET.to_owned(), Arc::new(resolver))].into() }
}

#[allow(clippy::disallowed_methods, reason = "one moment for all: nothing here waits")]
fn now() -> Instant {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *BEGAN
}
