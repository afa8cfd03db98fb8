//! Steering: tells the kernel which queue of a TUN a packet belongs to, so that it meets the worker
//! that owns its session. Where a kernel refuses BPF (user
//! namespaces do), packets that arrive wrong are handed over between workers instead.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::snapshot::steering::Secret;

/// Instructions and labels.
mod assembler;

/// The program itself.
mod program;

/// `bpf(2)`, as much as is needed.
mod syscall;

/// NAT addresses one device may have; entries are allocated as they are added.
const MAP_SIZE: u32 = 65_536;

/// A program attached to one device, and the NAT addresses it knows.
#[derive(Debug)]
pub struct Steering {
    map: OwnedFd,
    program: OwnedFd,
    nat: BTreeSet<IpAddr>,
}

impl Steering {
    /// Loads a program for a device with `workers` queues, which chooses by `secret`.
    ///
    /// # Errors
    /// The kernel refuses BPF; the text says which call.
    pub fn load(workers: u16, secret: &Secret) -> io::Result<Self> {
        let map = syscall::create_map(MAP_SIZE).map_err(|error| named("BPF map", &error))?;
        let instructions = program::assemble(workers, map.as_raw_fd(), secret);
        let program = syscall::load_program(&instructions).map_err(|error| named("BPF program", &error))?;
        Ok(Self { map, program, nat: BTreeSet::new() })
    }

    /// Attaches the program to the device of `queue`: one of its queues speaks for all.
    ///
    /// # Errors
    /// The kernel refuses (`TUNSETSTEERINGEBPF`, since Linux 4.16).
    pub fn attach(&self, queue: impl AsFd) -> io::Result<()> {
        syscall::attach_to_tun(queue.as_fd(), self.program.as_fd()).map_err(|error| named("TUNSETSTEERINGEBPF", &error))
    }

    /// Makes `addresses` the NAT addresses of the device; packets in flight see the old or the new set,
    /// entry by entry.
    ///
    /// # Errors
    /// The map is full, or the kernel refuses.
    pub fn set_nat<'a>(&mut self, addresses: impl IntoIterator<Item = &'a IpAddr>) -> io::Result<()> {
        let wanted: BTreeSet<IpAddr> = addresses.into_iter().copied().collect();
        for address in wanted.difference(&self.nat) {
            syscall::put(self.map.as_fd(), key(*address))?;
        }
        for address in self.nat.difference(&wanted) {
            syscall::remove(self.map.as_fd(), key(*address))?;
        }
        self.nat = wanted;
        Ok(())
    }
}

/// The words of an address, mapped for IPv4.
fn key(address: IpAddr) -> syscall::Key {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    let bytes = bits.to_be_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|word| u32::from_be_bytes(words[word]))
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests;
