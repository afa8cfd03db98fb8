//! The audit log kept elsewhere: exported before its oldest records go, and followed from there.

use std::fs;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::lab::{Daemon, FILE, ask, cli, eventually, isolated, orders, two_legs};

/// The records of an export, in order.
fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(record: &Value) -> u64 {
    record["seq"].as_u64().expect("a number")
}

fn hash(record: &Value) -> String {
    record["hash"].as_str().expect("a hash").to_owned()
}

/// The hash of a record by what `docs/operations.md` says it is of.
fn computed(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().expect("a text").to_owned();
    let previous = text("previous");
    let bytes = (0..previous.len()).step_by(2).map(|at| u8::from_str_radix(&previous[at..at + 2], 16).expect("hex"));
    let mut hasher = Sha256::new();
    hasher.update(bytes.collect::<Vec<u8>>());
    hasher.update(number(record).to_be_bytes());
    hasher.update(record["atMicroseconds"].as_i64().expect("a time").to_be_bytes());
    hasher.update(text("body"));
    hasher.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn what_is_exported_before_it_goes_is_followed_by_what_stays() {
    isolated("audit::what_is_exported_before_it_goes_is_followed_by_what_stays", || {
        two_legs();
        let file = orders("Approved");
        let daemon = Daemon::start(&file);
        for _ in 0..3 {
            ask("connection reject orders");
            ask("connection approve orders");
        }
        ask("audit export /run/privlink/before.jsonl");
        let before = records(&fs::read_to_string("/run/privlink/before.jsonl").expect("written"));
        assert!(before.len() >= 7 && number(&before[0]) == 1, "{}", before.len());
        assert_eq!(records(&ask("audit export -")), before, "standard output has the same");
        // It never writes over what was kept.
        let again = cli("audit export /run/privlink/before.jsonl");
        assert!(!again.status.success(), "{again:?}");
        let last = before.last().expect("records");
        assert!(ask("audit verify").contains(&hash(last)));
        daemon.stop();

        fs::write(FILE, file.replace("[daemon]\n", "[daemon]\naudit = { retain = \"1s\" }\n")).expect("written");
        let _daemon = Daemon::again(&[]);
        eventually("the oldest records go", || ask("audit verify").contains("before them were removed"));
        // What is written now is a second old soon, too: the anchor is asked for beside it.
        let mut after = Vec::new();
        eventually("what stays follows the anchor", || {
            ask("connection reject orders");
            ask("connection approve orders");
            let verified = ask("audit verify");
            after = records(&ask("audit export -"));
            let anchor = after.first().and_then(|first| first["previous"].as_str());
            let newer = after.first().is_some_and(|first| number(first) > number(last));
            newer
                && verified.contains("each as it was written")
                && anchor.is_some_and(|anchor| verified.contains(anchor))
        });
        let first = after.first().expect("records");
        assert!(number(first) > number(last), "{first}");
        let mut kept: Vec<Value> = before;
        kept.extend(after.iter().cloned());
        for pair in kept.windows(2) {
            if number(&pair[1]) == number(&pair[0]) + 1 {
                assert_eq!(pair[1]["previous"], pair[0]["hash"], "the chain goes on");
            }
        }
        assert!(kept.iter().all(|record| computed(record) == hash(record)));
    });
}
