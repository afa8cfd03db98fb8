use hickory_proto::op::Message;

use super::*;
use crate::snapshot::ConnectionState::{self, Approved, Rejected};
use crate::snapshot::dns::{Node, Owner};

const VNET: &str = "default/spoke";
const NAME: &str = "orders.example";
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 5));

fn plan(state: ConnectionState) -> DnsPlan {
    let address = IpAddr::from([10, 1, 9, 4]);
    let vnet: crate::snapshot::dns::Name = "default/spoke".into();
    let owner = Owner { endpoint: "default/orders".into(), vnet: vnet.clone(), member: "".into(), address, state };
    let plan = ResolverPlan {
        vnet,
        ttl: Duration::from_secs(10),
        answer: vec![Approved],
        sources: vec!["10.1.0.0/16".parse().expect("a prefix")],
        names: [(NAME.into(), Node { owners: vec![owner], ..Node::default() })].into_iter().collect(),
        ..ResolverPlan::default()
    };
    DnsPlan { resolvers: [(VNET.to_owned(), Arc::new(plan))].into() }
}

fn resolver(state: ConnectionState) -> (Arc<ArcSwap<DnsPlan>>, Resolver) {
    let plans = Arc::new(ArcSwap::from_pointee(plan(state)));
    let resolver = Resolver::new(VNET, Arc::clone(&plans), Arc::default()).expect("planned");
    (plans, resolver)
}

fn query(name: &str, flags: u8) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("short"));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn said(resolver: &Resolver, message: &[u8], client: IpAddr) -> (Handled, Option<Message>) {
    let (plan, mut out) = (resolver.plan().expect("planned"), Vec::new());
    let outcome = resolver.at_once(&plan, message, (client, Transport::Datagram), clock(), &mut out);
    (outcome, (outcome == Handled::Answered).then(|| Message::from_vec(&out).expect("a message")))
}

fn answered(resolver: &Resolver, name: &str, client: IpAddr) -> (ResponseCode, usize) {
    let message = said(resolver, &query(name, 1), client).1.expect("answered at once");
    (message.metadata.response_code, message.answers.len())
}

#[test]
fn a_new_plan_is_in_force_with_the_next_message() {
    let (plans, resolver) = resolver(Approved);
    for _ in 0..3 {
        assert_eq!(answered(&resolver, NAME, CLIENT), (ResponseCode::NoError, 1));
    }
    plans.store(Arc::new(plan(Rejected)));
    assert_eq!(answered(&resolver, NAME, CLIENT), (ResponseCode::NXDomain, 0), "nothing of before is given");
    plans.store(Arc::new(plan(Approved)));
    assert_eq!(answered(&resolver, NAME, CLIENT), (ResponseCode::NoError, 1));
    plans.store(Arc::default());
    assert!(resolver.plan().is_none());
}

#[test]
fn an_answer_that_was_begun_under_another_plan_is_not_kept() {
    let (plans, resolver) = resolver(Approved);
    let (before, mut out) = (resolver.plan().expect("planned"), Vec::new());
    plans.store(Arc::new(plan(Rejected)));
    let how = (CLIENT, Transport::Datagram);
    assert_eq!(resolver.at_once(&before, &query(NAME, 1), how, clock(), &mut out), Handled::Answered);
    assert_eq!(answered(&resolver, NAME, CLIENT), (ResponseCode::NXDomain, 0));
}

#[test]
fn strangers_are_told_nothing_and_others_by_who_they_are() {
    let (_plans, resolver) = resolver(Approved);
    for (client, code) in [
        ("10.1.0.5", ResponseCode::NoError),
        ("127.0.0.1", ResponseCode::NoError),
        ("::ffff:10.1.0.5", ResponseCode::NoError),
        ("10.2.0.5", ResponseCode::Refused),
        ("::ffff:10.2.0.5", ResponseCode::Refused),
        ("fd01::5", ResponseCode::Refused),
    ] {
        assert_eq!(answered(&resolver, NAME, client.parse().expect("an address")).0, code, "{client}");
    }
    assert_eq!(said(&resolver, &query("www.example.com", 1), CLIENT).0, Handled::Later);
    let alone = said(&resolver, &query("www.example.com", 0), CLIENT).1.expect("answered");
    assert_eq!(alone.metadata.response_code, ResponseCode::Refused, "nobody may be asked for it");
    let counted: Vec<_> = resolver.counters().answers().filter(|(.., count)| *count > 0).collect();
    assert_eq!(counted, [("private", "NOERROR", 3), ("refused", "REFUSED", 4)]);
}

#[tokio::test]
async fn without_an_upstream_a_public_name_is_refused_and_the_reason_is_said() {
    let (_plans, resolver) = resolver(Approved);
    let out = resolver.answer(&query("www.example.com", 1), CLIENT, Transport::Stream).await.expect("answered");
    let message = Message::from_vec(&out).expect("a message");
    assert_eq!(message.metadata.response_code, ResponseCode::Refused);
    let key = Key::of(&Name::from_ascii("www.example.com.").expect("a name"), RecordType::A);
    let (reply, hops) = resolver.resolve(&resolver.plan().expect("planned"), &key).await;
    assert_eq!(
        reply.why,
        Some((NOT_AUTHORITATIVE, "privlink: not a private name, and the VNet names no upstream".to_owned()))
    );
    assert!(matches!(hops[..], [TraceStep { by: AnswerSource::Kept { server: None, .. }, .. }]), "{hops:?}");
}
