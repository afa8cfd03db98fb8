//! What a speed peer needs besides its loop: two TUN devices, each in a network namespace, and one fixed rewrite of
//! the addresses between them. No policy, no table, no ports.

use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use clap::Parser;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Where the devices stand, and the one translation.
#[derive(Parser, Debug)]
pub(crate) struct Arguments {
    /// Namespace of the consumer side, a name below /run/netns.
    consumer_netns: String,
    /// TUN device to make there.
    consumer_device: String,
    /// Namespace of the provider side.
    provider_netns: String,
    /// TUN device to make there.
    provider_device: String,
    /// Address of the one consumer.
    consumer: Ipv4Addr,
    /// Address the consumer talks to.
    endpoint: Ipv4Addr,
    /// Address the backend sees.
    nat: Ipv4Addr,
    /// Address of the one backend.
    backend: Ipv4Addr,
    /// Queues per device; two threads serve each, one per direction.
    #[arg(long, default_value_t = 1)]
    queues: usize,
}

/// New addresses for every packet of one direction, and what they add to a checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translation {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    delta: u16,
}

/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;

impl Translation {
    fn new(from: (Ipv4Addr, Ipv4Addr), to: (Ipv4Addr, Ipv4Addr)) -> Self {
        let words = |(a, b): (Ipv4Addr, Ipv4Addr)| {
            [a.to_bits() >> 16, a.to_bits() & 0xffff, b.to_bits() >> 16, b.to_bits() & 0xffff]
        };
        let added: u32 = words(to).iter().sum();
        let removed: u32 = words(from).iter().map(|word| 0xffff - word).sum();
        Self { source: to.0, destination: to.1, delta: fold(added + removed) }
    }

    /// Rewrites an IPv4 packet in place; `partial` says that its transport checksum covers the pseudo
    /// header only (`VIRTIO_NET_HDR_F_NEEDS_CSUM`). False for what is not IPv4.
    pub(crate) fn apply(&self, packet: &mut [u8], partial: bool) -> bool {
        if packet.len() < IPV4_HEADER || packet[0] >> 4 != 4 {
            return false;
        }
        self.patch(packet, 10, false);
        packet[12..16].copy_from_slice(&self.source.octets());
        packet[16..20].copy_from_slice(&self.destination.octets());
        let transport = usize::from(packet[0] & 15) * 4;
        match packet[9] {
            6 => self.patch(packet, transport + 16, partial),
            // A zero UDP checksum means "none" and stays (RFC 768).
            17 if packet.get(transport + 6..transport + 8) != Some(&[0, 0]) => {
                self.patch(packet, transport + 6, partial);
            }
            _ => {}
        }
        true
    }

    /// RFC 1624, equation 3; a partial checksum is stored uncomplemented.
    fn patch(&self, packet: &mut [u8], at: usize, partial: bool) {
        let Some([high, low]) = packet.get_mut(at..at + 2) else { return };
        let old = u16::from_be_bytes([*high, *low]);
        let sum = |value: u16| fold(u32::from(value) + u32::from(self.delta));
        let new = if partial { sum(old) } else { !sum(!old) };
        [*high, *low] = new.to_be_bytes();
    }
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Opens both devices and runs `pump` on a thread per queue and direction until one fails.
pub(crate) fn run(pump: fn(&SyncDevice, &SyncDevice, Translation) -> io::Result<()>) -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let consumers = open(&arguments.consumer_netns, &arguments.consumer_device, arguments.queues)?;
    let providers = open(&arguments.provider_netns, &arguments.provider_device, arguments.queues)?;
    let Arguments { consumer, endpoint, nat, backend, .. } = arguments;
    let to_service = Translation::new((consumer, endpoint), (nat, backend));
    let to_consumer = Translation::new((backend, nat), (endpoint, consumer));

    writeln!(io::stdout(), "ready")?;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (consumer, provider) in consumers.iter().zip(&providers) {
            threads.push(scope.spawn(move || pump(consumer, provider, to_service)));
            threads.push(scope.spawn(move || pump(provider, consumer, to_consumer)));
        }
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

/// One device with `queues` queues; made by a thread of its own, which alone enters the namespace.
fn open(netns: &str, name: &str, queues: usize) -> anyhow::Result<Vec<SyncDevice>> {
    let make = || -> io::Result<Vec<SyncDevice>> {
        let namespace = File::open(Path::new("/run/netns").join(netns))?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?;
        let first = DeviceBuilder::new()
            .name(name)
            .mtu(1500)
            .packet_information(false)
            .multi_queue(queues > 1)
            .offload(true)
            .build_sync()?;
        let mut devices = vec![first];
        while devices.len() < queues {
            devices.push(devices[0].try_clone()?);
        }
        Ok(devices)
    };
    std::thread::scope(|scope| scope.spawn(make).join())
        .map_err(|_| anyhow::anyhow!("the thread that opens {name} panicked"))?
        .with_context(|| format!("cannot make the TUN device {name} in namespace {netns}"))
}
