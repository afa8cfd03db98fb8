//! Speed peer: the bare TUN loop. Super-packets of up to 64 KiB pass whole behind their virtio-net
//! header and only two addresses change: the most that any forwarder on TUN devices can reach.

mod pair;

use std::io;

use pair::Translation;
use tun_rs::SyncDevice;

/// Bytes of `struct virtio_net_hdr`.
const HEADER: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;

fn main() -> anyhow::Result<()> {
    pair::run(pump)
}

fn pump(from: &SyncDevice, to: &SyncDevice, translation: Translation) -> io::Result<()> {
    let mut buffer = vec![0; HEADER + 65_535 + 503];
    loop {
        let length = from.recv(&mut buffer)?;
        let (header, packet) = buffer[..length].split_at_mut(HEADER);
        if !translation.apply(packet, header[0] & NEEDS_CSUM != 0) {
            continue;
        }
        fit_header(header, packet);
        // A packet the kernel refuses is lost, as on any wire.
        let _refused = to.send(&buffer[..length]);
    }
}

/// Sets the header length to that of the real headers, so that the payload goes to page fragments, and
/// drops flags that a write does not know.
fn fit_header(header: &mut [u8], packet: &[u8]) {
    header[0] &= NEEDS_CSUM;
    if header[1] == 0 {
        return;
    }
    let network = usize::from(packet[0] & 15) * 4;
    let transport = match packet[9] {
        6 => usize::from(packet.get(network + 12).copied().unwrap_or(0x50) >> 4) * 4,
        _ => 8,
    };
    let length = u16::try_from(network + transport).unwrap_or(u16::MAX);
    header[2..4].copy_from_slice(&length.to_ne_bytes());
}
