use super::*;

const NAME: &[u8] = b"\x07Account\x04blob\x00";
const OPT_RECORD: &[u8] = &[0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0];

fn header(flags: [u8; 2], counts: [u8; 4]) -> Vec<u8> {
    let [questions, answers, authorities, additionals] = counts;
    vec![0x12, 0x34, flags[0], flags[1], 0, questions, 0, answers, 0, authorities, 0, additionals]
}

fn query(name: &[u8], rest: &[u8], counts: [u8; 4]) -> Vec<u8> {
    [&header([1, 0], counts), name, &[0, 1, 0, 1], rest].concat()
}

#[test]
fn a_query_is_read_as_it_was_written() {
    let message = query(NAME, OPT_RECORD, [1, 0, 0, 1]);
    let ParsedQuery::Question(question) = read(&message) else { panic!("a question") };
    assert_eq!((question.id, question.recursion_desired, question.checking_disabled), (0x1234, true, false));
    assert_eq!((question.name(), question.kind(), question.class()), (NAME, 1, 1));
    assert_eq!(question.edns, Some(ClientEdns { payload: 4_096, version: 0, dnssec_ok: true }));
    let key = Key::new(question.name(), question.kind());
    assert_eq!(key.name(), b"\x07account\x04blob\x00");
    assert_eq!((key.to_name().to_ascii(), key.kind()), ("account.blob.".to_owned(), RecordType::A));
    assert_eq!(Key::of(&key.to_name(), RecordType::A).bytes(), key.bytes());
}

#[test]
fn what_is_no_query_or_unfit_is_told_apart() {
    let format = ParsedQuery::Unfit(Unfit { id: 0x1234, operation: 1, code: FORMAT_ERROR });
    let long: Vec<u8> = [b"\x3f".to_vec(), b"a".repeat(63)].concat().repeat(4).into_iter().chain([0]).collect();
    for (what, message, expected) in [
        ("nothing", vec![], ParsedQuery::NoQuery),
        ("half a header", vec![0x12, 0x34, 1, 0, 0, 1], ParsedQuery::NoQuery),
        ("an answer", [&header([0x81, 0], [1, 0, 0, 0]), NAME, &[0, 1, 0, 1]].concat(), ParsedQuery::NoQuery),
        (
            "an update",
            [&header([0x28, 0], [1, 0, 0, 0]), NAME, &[0, 6, 0, 1]].concat(),
            ParsedQuery::Unfit(Unfit { id: 0x1234, operation: 0x28, code: NOT_IMPLEMENTED }),
        ),
        ("no question", header([1, 0], [0, 0, 0, 0]), ParsedQuery::Unfit(Unfit { id: 0x1234, operation: 1, code: 1 })),
        ("two questions", query(NAME, &[NAME, &[0, 1, 0, 1]].concat(), [2, 0, 0, 0]), format),
        ("a name that ends in the middle", query(b"\x07acc", &[], [1, 0, 0, 0]), unfit()),
        ("a name that points to itself", query(b"\xc0\x0c", &[], [1, 0, 0, 0]), unfit()),
        ("a name that points back", query(b"\x01a\xc0\x00", &[], [1, 0, 0, 0]), unfit()),
        ("a label of 64", query(&[&[64_u8][..], &[b'a'; 64], &[0]].concat(), &[], [1, 0, 0, 0]), unfit()),
        ("a name of 257", query(&long, &[], [1, 0, 0, 0]), unfit()),
        ("bytes left over", query(NAME, &[0], [1, 0, 0, 0]), unfit()),
        ("a record that is not there", query(NAME, &[], [1, 0, 0, 1]), unfit()),
        ("two OPT records", query(NAME, &OPT_RECORD.repeat(2), [1, 0, 0, 2]), unfit()),
        ("an OPT record of a name", query(NAME, &[b"\x01a".as_slice(), OPT_RECORD].concat(), [1, 0, 0, 1]), unfit()),
        (
            "an OPT record longer than the message",
            query(NAME, &[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 9], [1, 0, 0, 1]),
            unfit(),
        ),
    ] {
        assert_eq!(read(&message), expected, "{what}");
    }
}

fn unfit() -> ParsedQuery<'static> {
    ParsedQuery::Unfit(Unfit { id: 0x1234, operation: 1, code: FORMAT_ERROR })
}

#[test]
fn records_beside_the_question_are_stepped_over() {
    let signed =
        query(NAME, &[&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4], OPT_RECORD].concat(), [1, 0, 1, 1]);
    assert!(matches!(read(&signed), ParsedQuery::Question(Question { edns: Some(_), .. })));
    let root = query(&[0], &[], [1, 0, 0, 0]);
    let ParsedQuery::Question(question) = read(&root) else { panic!("the root is a name") };
    assert_eq!(Key::new(question.name(), 2).to_name().to_ascii(), ".");
}
