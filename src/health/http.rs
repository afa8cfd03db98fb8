//! HTTP probes.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most bytes of an answer that are read for its status.
const STATUS_MAX: u64 = 1024;

/// Requests `path` over `stream`, which is connected to `to`. Only status 200 is healthy, as for Azure's probes.
///
/// # Errors
/// A description of the other result.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, to: SocketAddr, path: &str) -> Result<(), String> {
    let question = format!(
        "GET {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: privlink\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(question.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut line = Vec::new();
    let mut answer = stream.take(STATUS_MAX);
    while !line.contains(&b'\n') {
        match answer.read_buf(&mut line).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let line = String::from_utf8_lossy(&line);
    let mut words = line.lines().next().unwrap_or_default().split_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(()),
        (Some(version), Some(status)) if version.starts_with("HTTP/") => {
            Err(format!("HTTP {}", status.chars().take(3).collect::<String>()))
        }
        _ => Err("no answer by HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(answer: &'static str) -> (Result<(), String>, String) {
        let (near, mut far) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut question = Vec::new();
            while !question.ends_with(b"\r\n\r\n") {
                far.read_buf(&mut question).await.expect("a question");
            }
            // In two parts, as the network may split it.
            let (first, rest) = answer.split_at(answer.len() / 2);
            for part in [first, rest] {
                _ = far.write_all(part.as_bytes()).await;
                tokio::task::yield_now().await;
            }
            String::from_utf8(question).expect("text")
        });
        let result = ask(near, "10.1.2.20:8080".parse().expect("an address"), "/healthz?deep=1").await;
        (result, server.await.expect("ended"))
    }

    #[tokio::test]
    async fn only_status_200_is_well() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(())),
            ("HTTP/1.0 200\r\n\r\n", Ok(())),
            ("HTTP/1.1 204 No Content\r\n\r\n", Err("HTTP 204")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Err("HTTP 503")),
            ("SSH-2.0-OpenSSH 200\r\n", Err("no answer by HTTP")),
            ("", Err("no answer by HTTP")),
        ] {
            let (result, question) = asked(answer).await;
            assert_eq!(result, expected.map_err(ToOwned::to_owned), "{answer}");
            assert!(question.starts_with("GET /healthz?deep=1 HTTP/1.1\r\nHost: 10.1.2.20:8080\r\n"), "{question}");
        }
    }
}
