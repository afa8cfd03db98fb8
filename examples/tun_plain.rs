//! Speed peer: a plain TUN forwarder. No offload: one read and one write per packet of at most one
//! MTU, full checksums kept right by their deltas. What most user-space forwarders do.

mod pair;

use std::io;

use pair::Translation;
use tun_rs::SyncDevice;

fn main() -> anyhow::Result<()> {
    pair::run(false, pump)
}

fn pump(from: &SyncDevice, to: &SyncDevice, translation: Translation) -> io::Result<()> {
    let mut buffer = vec![0; 2048];
    loop {
        let length = from.recv(&mut buffer)?;
        if translation.apply(&mut buffer[..length], false) {
            // A packet the kernel refuses is lost, as on any wire.
            let _refused = to.send(&buffer[..length]);
        }
    }
}
