//! Names that the code once had for things that the field has a word for: none of them is declared again.

use std::fs;
use std::path::Path;

use crate::source::{blank_comments_and_strings, line_of, word_starts};

/// The former name, and the field's.
const FORMER: [(&str, &str); 48] = [
    ("Ears", "Waker"),
    ("Ended", "FlowRecord"),
    ("Wanted", "FlowFilter"),
    ("Seen", "TcpFlags, SessionFlags"),
    ("Hope", "SpinPolicy"),
    ("Sight", "ParsedFrame"),
    ("Odd", "NotAFlow"),
    ("Own", "Transmit"),
    ("Arrival", "RxMeta, ParsedQuery"),
    ("HandOut", "Handoff"),
    ("Cause", "FlowEndReason"),
    ("Common", "FairShare"),
    ("Sharers", "contenders"),
    ("Departed", "SessionCountDelta"),
    ("Decisions", "ControlState"),
    ("Extent", "ChangeExtent"),
    ("Ready", "PreparedChange"),
    ("Basis", "EndpointInputs"),
    ("Surroundings", "CompileContext"),
    ("Refusal", "Error"),
    ("Rejection", "Error"),
    ("Failure", "Error"),
    ("MOVED", "PRECONDITION_FAILED"),
    ("BrokenRule", "ErrorDetail, Violation"),
    ("Surprise", "LintWarning"),
    ("Minted", "TokenCreated"),
    ("Ask", "ArmRequest, PendingQuery"),
    ("Field", "JsonField, ReferenceField"),
    ("Word", "Keyword"),
    ("Short", "Shorthand"),
    ("Idle", "Duration"),
    ("Desk", "ResolverRegistry"),
    ("Wish", "DnsQuery"),
    ("Told", "RecordText"),
    ("Untold", "QueryError"),
    ("Hop", "TraceStep"),
    ("By", "Source"),
    ("Publicly", "UpstreamProbe"),
    ("JOURNEYS", "MAX_CNAME_RESTARTS"),
    ("Crew", "WorkerPool"),
    ("Doors", "NetnsConnector"),
    ("LastWords", "ExitGuard"),
    ("PATIENCE", "a name in …_TIMEOUT"),
    ("HASTE", "a name in …_TIMEOUT"),
    ("SEATS", "MAX_LONG_POLLS"),
    ("SILENCE", "WORKER_TIMEOUT"),
    ("interface", "types"),
    ("refusal", "error"),
];

/// What declares a type, a constant or a module. Functions may have these names: `fn interface` finds one of a network.
const DECLARES: [&str; 8] = ["struct", "enum", "trait", "type", "const", "static", "mod", "union"];

/// Where `code` declares `name`, by line. A type within an `impl` has the name that its trait gave it.
fn declared(code: &str, name: &str) -> Vec<usize> {
    let before = |at: usize| code[..at].split_whitespace().next_back().unwrap_or_default();
    let of_a_trait = |at: usize| code[..at].ends_with("\n    type ");
    let declares = |&at: &usize| DECLARES.contains(&before(at)) && !of_a_trait(at);
    word_starts(code, name).filter(declares).map(|at| line_of(code, at)).collect()
}

#[test]
fn no_former_name_comes_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    super::collect(&root, &mut files);
    let mut found = Vec::new();
    for path in &files {
        let code = blank_comments_and_strings(&fs::read_to_string(path).unwrap());
        for (former, now) in FORMER {
            let lines = declared(&code, former);
            let name = path.strip_prefix(&root).unwrap().display();
            found.extend(lines.iter().map(|line| format!("{name}:{line}: `{former}` is called {now}")));
        }
    }
    assert!(found.is_empty(), "{} names:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_former_name_is_found_where_it_is_declared() {
    assert_eq!(declared("use a::Crew;\npub(super) struct Crew {}\nfn f(crew: Crew) {}", "Crew"), [2]);
    assert_eq!(declared("impl A for B {\n    type Crew = C;\n}\ntype Crew = D;", "Crew"), [4]);
    assert_eq!(declared("impl Wordy for Words {} fn f(word: Word) {}", "Word"), [0; 0]);
}
