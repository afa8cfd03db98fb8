//! Steering: tells the kernel which queue of a TUN a packet belongs to, so that it meets the worker
//! that owns its session (DESIGN §2 *Workers and devices*). Where a kernel refuses BPF (user
//! namespaces do), packets that arrive wrong are handed over between workers instead.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

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
    nat: BTreeSet<Ipv4Addr>,
}

impl Steering {
    /// Loads a program for a device with `workers` queues.
    ///
    /// # Errors
    /// The kernel refuses BPF; the text says which call.
    pub fn load(workers: u16) -> io::Result<Self> {
        let map = syscall::create_map(MAP_SIZE).map_err(|error| named("BPF map", &error))?;
        let instructions = program::assemble(workers, map.as_raw_fd());
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

    /// Makes the IPv4 addresses among `addresses` the NAT addresses of the device; packets in flight
    /// see the old or the new set, entry by entry.
    ///
    /// # Errors
    /// The map is full, or the kernel refuses.
    pub fn set_nat<'a>(&mut self, addresses: impl IntoIterator<Item = &'a IpAddr>) -> io::Result<()> {
        let wanted: BTreeSet<Ipv4Addr> = addresses
            .into_iter()
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .collect();
        for address in wanted.difference(&self.nat) {
            syscall::put(self.map.as_fd(), u32::from(*address))?;
        }
        for address in self.nat.difference(&wanted) {
            syscall::remove(self.map.as_fd(), u32::from(*address))?;
        }
        self.nat = wanted;
        Ok(())
    }
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests;
