use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::lab::WAIT_TIMEOUT;

const SOCKET: &str = "/run/privlink/privlink.sock";

/// Status and body of the daemon's answer; `None`: it died before it had answered whole.
pub(super) fn call(method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    exchange(method, path, "", body)
}

/// [`call`], on condition that what stands there has this tag.
pub(super) fn call_if(method: &str, path: &str, tag: &str, body: &Value) -> Option<(u16, Value)> {
    exchange(method, path, &format!("if-match: {tag}\r\n"), body)
}

fn exchange(method: &str, path: &str, condition: &str, body: &Value) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(SOCKET).ok()?;
    stream.set_read_timeout(Some(WAIT_TIMEOUT)).expect("set");
    let body = body.to_string();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}{condition}content-length: {length}\r\n\r\n{body}").as_bytes()).ok()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
        Err(error) => panic!("{method} {path}: {error}"),
    }
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let told = head.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| *name == "content-length");
    let told: usize = told.and_then(|(_, length)| length.parse().ok()).unwrap_or_default();
    if body.len() < told {
        return None;
    }
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

/// The items of a list of the running daemon.
pub(super) fn items(path: &str) -> Vec<Value> {
    let (status, mut body) = call("GET", path, &Value::Null).expect("answered");
    assert_eq!(status, 200, "{path}: {body}");
    let Value::Array(items) = body["items"].take() else { panic!("{path}: {body}") };
    items
}
