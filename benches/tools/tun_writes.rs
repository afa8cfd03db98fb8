//! Speed peer: writes so many TCP resets a second to a TUN device and does nothing else: what resets cost a host,
//! whoever sends them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use clap::Parser;
use privlink::wire::build::{Ends, reset_at};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Where to write, and what.
#[derive(Parser, Debug)]
struct Arguments {
    /// TUN device to make.
    device: String,
    /// First of the addresses that the resets seem to come from.
    from: Ipv4Addr,
    /// How many there are.
    addresses: u32,
    /// Where they go.
    to: Ipv4Addr,
    /// Resets a second.
    rate: u64,
}

/// Queues, with a thread each.
const QUEUES: u64 = 2;

/// Sleep between two bursts, as the daemon's workers sleep.
const PAUSE: Duration = Duration::from_millis(3);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let device = DeviceBuilder::new().name(&arguments.device).packet_information(false);
    let first = device.multi_queue(true).offload(true).build_sync()?;
    let queues = (1..QUEUES).map(|_| first.try_clone()).collect::<std::io::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        for (number, queue) in (0..).zip(queues.iter().chain([&first])) {
            let arguments = &arguments;
            scope.spawn(move || write(queue, number, arguments));
        }
    });
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a speed peer works in real time")]
#[allow(clippy::cast_possible_truncation, reason = "ports and addresses come round again")]
fn write(queue: &SyncDevice, number: u64, arguments: &Arguments) {
    let began = Instant::now();
    let due = || began.elapsed().as_micros() * u128::from(arguments.rate / QUEUES) / 1_000_000;
    for sent in 0_u64.. {
        while due() <= u128::from(sent) {
            std::thread::sleep(PAUSE);
        }
        // As sessions have them: a port of its own each, over all addresses.
        let port = sent * QUEUES + number;
        let address = u32::from(arguments.from) + (port >> 16) as u32 % arguments.addresses;
        let from = IpAddr::from(Ipv4Addr::from(address)).into();
        let ends = Ends { from: (from, port as u16), to: (IpAddr::from(arguments.to).into(), 7_100) };
        // One that is refused is lost, as on any wire; until the device is up that is each.
        let _refused = queue.send(&reset_at(ends, 1));
    }
}
