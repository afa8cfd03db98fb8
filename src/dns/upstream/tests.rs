use std::net::Ipv4Addr;

use hickory_proto::op::{MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn address(owner: &str, last: u8, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn alias(owner: &str, to: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(to))))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name(owner), name("hostmaster.example."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name(owner), ttl, RData::SOA(data))
}

fn found(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> (Found, u64) {
    let key = Key::of(&name("www.example."), RecordType::A);
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(Query::query(name("www.example."), RecordType::A));
    (message.answers, message.authorities) = (answers, authorities);
    let at = clock();
    let found = Found::new(message, &key, Ipv4Addr::LOCALHOST.into(), at);
    let seconds = found.until.duration_since(at).as_secs();
    (found, seconds)
}

#[test]
fn only_what_was_asked_for_is_used_and_kept_as_long_as_its_shortest_record() {
    let (all, seconds) = found(
        ResponseCode::NoError,
        vec![
            address("victim.example.", 66, 9),
            address("end.example.", 1, 90),
            address("END.example.", 2, 200_000),
            alias("WWW.example.", "mid.example.", 60),
            alias("mid.example.", "end.example.", 70),
            alias("end.example.", "victim.example.", 5),
        ],
        vec![soa("example.", 5, 5)],
    );
    let owners: Vec<String> = all.records.iter().map(|record| record.name.to_ascii()).collect();
    assert_eq!(owners, ["WWW.example.", "mid.example.", "end.example.", "END.example."]);
    assert_eq!((seconds, all.records[3].ttl, all.soa.is_none()), (60, LONGEST, true));
    assert_eq!(all.leads_on(RecordType::A), None);
}

#[test]
fn that_there_is_nothing_is_kept_as_the_zone_says_and_a_failure_shortly() {
    let (none, seconds) = found(ResponseCode::NXDomain, vec![], vec![soa("example.", 900, 30)]);
    assert_eq!((none.code, seconds), (ResponseCode::NXDomain, 30));
    assert_eq!(found(ResponseCode::NXDomain, vec![], vec![soa("example.", 9_000, 90_000)]).1, 3_600);
    let (foreign, seconds) = found(ResponseCode::NXDomain, vec![], vec![soa("elsewhere.", 900, 900)]);
    assert!(foreign.soa.is_none() && seconds == FAILURE.as_secs(), "another zone knows nothing of it");
    let (half, seconds) = found(ResponseCode::NoError, vec![alias("www.example.", "a.elsewhere.", 60)], vec![]);
    assert_eq!(half.leads_on(RecordType::A), Some(&name("a.elsewhere.")));
    assert_eq!((half.leads_on(RecordType::CNAME), seconds), (None, FAILURE.as_secs()));
    let circle = vec![alias("www.example.", "a.example.", 60), alias("a.example.", "www.example.", 60)];
    assert_eq!(found(ResponseCode::NoError, circle, vec![]).0.records.len(), 2, "a circle ends");
}

/// An answer to `asked`, with the question as it stands there.
fn answer(asked: &Asked) -> Vec<u8> {
    let question = &asked.message[HEADER..asked.message.len() - OPT_RECORD];
    [&asked.message[..2], &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], question].concat()
}

#[test]
fn an_answer_repeats_the_question_to_the_letter() {
    let asked =
        Asked::new(&Key::of(&name("abcdefghijklmnopqrstuvwxyz.example."), RecordType::A)).expect("random numbers");
    let sound = answer(&asked);
    let with = |at: usize, change: fn(u8) -> u8| {
        let mut message = sound.clone();
        message[at] = change(message[at]);
        asked.judge(&message)
    };
    assert!(matches!(asked.judge(&sound), Judged::Answer(_)));
    assert!(matches!(with(2, |flags| flags | 2), Judged::CutShort));
    assert!(matches!(with(20, |letter| letter ^ 0x20), Judged::OtherLetters(_)));
    for (what, at, change) in [
        ("the identifier", 0, (|byte| byte ^ 1) as fn(u8) -> u8),
        ("a query", 2, |byte| byte & 0x7f),
        ("another operation", 2, |byte| byte | 8),
        ("no question", 5, |_| 0),
        ("another name", 20, |byte| byte ^ 3),
        ("another type", sound.len() - 3, |_| 28),
        ("another class", sound.len() - 1, |_| 3),
    ] {
        assert!(matches!(with(at, change), Judged::Foreign), "{what}");
    }
    assert!(matches!(asked.judge(&sound[..sound.len() - 1]), Judged::Foreign));
    let letters = |asked: &Asked| asked.message[13..39].to_vec();
    let other =
        Asked::new(&Key::of(&name("abcdefghijklmnopqrstuvwxyz.example."), RecordType::A)).expect("random numbers");
    assert_ne!(letters(&asked), letters(&other), "by chance once in 67 million runs");
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_is_forgotten() {
    let upstream = Upstream::new(&[Ipv4Addr::LOCALHOST.into()], &[]);
    // Every socket is taken: a question waits for one.
    let _all = upstream.sockets.acquire_many(u32::try_from(ASKED_AT_ONCE).expect("few")).await.expect("open");
    let key = Key::of(&name("www.example."), RecordType::A);
    let waits = |milliseconds| timeout(Duration::from_millis(milliseconds), upstream.ask(&key));
    let (short, long) = tokio::join!(
        async {
            let cut = waits(10).await.is_err();
            (cut, lock(&upstream.asking).len())
        },
        waits(50)
    );
    assert_eq!(short, (true, 1), "somebody else waits for it still");
    assert!(long.is_err() && lock(&upstream.asking).is_empty(), "nobody does");
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn whatever_a_server_sends_is_judged(rest in prop::collection::vec(any::<u8>(), 0..300), counts in any::<[u8; 3]>()) {
        let key = Key::of(&name("www.example."), RecordType::A);
        let asked = Asked::new(&key).expect("random numbers");
        let mut message = answer(&asked);
        (message[7], message[9], message[11]) = (counts[0] % 4, counts[1] % 4, counts[2] % 4);
        message.extend(rest);
        if let Judged::Answer(message) = asked.judge(&message) {
            let found = Found::new(*message, &key, Ipv4Addr::LOCALHOST.into(), clock());
            prop_assert!(found.records.iter().all(|record| record.ttl <= LONGEST));
        }
    }
}
