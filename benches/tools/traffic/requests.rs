//! Requests and answers of 64 bytes, one after the other on one connection: latency.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Ends, WARM_UP, within};

const SIZE: usize = 64;

pub(super) fn run(ends: &Ends) -> anyhow::Result<Value> {
    let listener = within(&ends.server, || Ok(TcpListener::bind(ends.listen)?)).context("the server cannot listen")?;
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _is_a_wish = stream.set_nodelay(true);
        let mut bytes = [0; SIZE];
        while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
    });
    let mut stream = within(&ends.client, || Ok(TcpStream::connect_timeout(&ends.to, Duration::from_secs(3))?))
        .context("the client cannot connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let (began, mut times, mut number) = (Instant::now(), Vec::with_capacity(1 << 18), 0_u64);
    while began.elapsed() < WARM_UP + ends.seconds {
        number += 1;
        let mut request = [7; SIZE];
        request[..8].copy_from_slice(&number.to_be_bytes());
        let mut answer = [0; SIZE];
        let sent = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut answer).context("no answer")?;
        let took = sent.elapsed();
        ensure!(answer == request, "answer {number} is another's");
        if began.elapsed() > WARM_UP {
            times.push(took);
        }
    }
    times.sort_unstable();
    ensure!(!times.is_empty(), "no answer in time");
    let percentile =
        |thousandths: usize| times[(times.len() * thousandths / 1_000).min(times.len() - 1)].as_secs_f64() * 1e6;
    Ok(json!({
        "requests": times.len(), "requests_per_second": super::bulk::as_rate(times.len() as u64) / ends.seconds.as_secs_f64(),
        "p50_us": percentile(500), "p99_us": percentile(990), "p999_us": percentile(999),
    }))
}
