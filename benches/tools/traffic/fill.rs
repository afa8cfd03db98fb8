//! One packet for each of many sessions, from one client address: the table fills, and nothing comes back.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketType, ipproto, sendmmsg, socket};
use serde_json::{Value, json};

use super::{Ends, within};

/// What of this load may be chosen.
#[derive(clap::Args, Debug)]
pub(super) struct Fill {
    /// Address the packets come from.
    #[arg(long)]
    from: Ipv4Addr,
    /// Sessions, spread over the 32 ports from that of `--to` on.
    #[arg(long)]
    sessions: u32,
    /// Packets per second.
    #[arg(long, default_value_t = 200_000)]
    rate: u64,
    /// TCP SYNs; UDP unless set.
    #[arg(long)]
    tcp: bool,
}

const PORTS: u32 = 32;
const FIRST_SOURCE: u32 = 1_024;
/// Packets per call.
const BURST: u32 = 32;

impl Fill {
    pub(super) fn run(&self, ends: &Ends) -> anyhow::Result<Value> {
        let SocketAddr::V4(to) = ends.to else { bail!("only IPv4 can be filled") };
        let began = Instant::now();
        let raw = within(&ends.client, || Ok(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?))?;
        let address = ends.to.as_any();
        for first in (0..self.sessions).step_by(BURST as usize) {
            let due = Duration::from_micros(u64::from(first) * 1_000_000 / self.rate);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let packets: Vec<Vec<u8>> = (first..(first + BURST).min(self.sessions))
                .map(|number| self.packet(number, *to.ip(), to.port()))
                .collect::<Result<_, _>>()?;
            let slices: Vec<[IoSlice<'_>; 1]> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
            let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BURST as usize] = Default::default();
            let mut messages: Vec<MMsgHdr<'_>> = slices
                .iter()
                .zip(&mut controls)
                .map(|(slice, control)| MMsgHdr::new_with_addr(&address, slice, control))
                .collect();
            sendmmsg(&raw, &mut messages, SendFlags::empty())?;
        }
        Ok(json!({ "sent": self.sessions, "seconds": began.elapsed().as_secs_f64() }))
    }

    fn packet(&self, number: u32, to: Ipv4Addr, first_port: u16) -> anyhow::Result<Vec<u8>> {
        let source = u16::try_from(FIRST_SOURCE + number / PORTS)?;
        let destination = first_port + u16::try_from(number % PORTS)?;
        let ip = etherparse::PacketBuilder::ipv4(self.from.octets(), to.octets(), 64);
        let mut packet = Vec::with_capacity(64);
        if self.tcp {
            ip.tcp(source, destination, number, 64_240).syn().write(&mut packet, &[])?;
        } else {
            ip.udp(source, destination).write(&mut packet, &[0; 8])?;
        }
        Ok(packet)
    }
}
