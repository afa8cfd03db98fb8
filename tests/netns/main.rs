//! The daemon itself over real TUN devices, with real kernel sockets as its peers. Each test runs itself
//! again inside a network and mount namespace of its own, so that nothing of this machine is touched and a
//! crash leaves nothing behind. `PRIVLINK_TESTS=netns` runs them; then a machine without TUN fails.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking"
)]

/// What all tests share.
#[path = "../support/mod.rs"]
mod support;

/// The networks and the configuration that most tests share.
mod lab;
use support::{packets, peers};

/// Approved works, everything else is refused and counted.
mod basics;
/// Kills, failed starts, and what they leave.
mod failing;

/// The audit log kept elsewhere.
mod audit;
/// Servers that die, come back, or are emptied; NAT addresses that retire.
mod backends;
/// What a VNet's owner may give away, and what it may carry on this host.
mod bounds;
/// Names that wait for their network's consent.
mod consent;
/// Private names.
mod dns;
/// Private names served by other programs.
mod dns_exports;
/// A resolver among people who mean it no good.
mod dns_hostile;
/// Zones that somebody else serves.
mod dns_lint;
/// Private DNS zones of one's own, zone groups, lockdown.
mod dns_zones;
/// One fault at a time, seen from a client's host.
mod doctor;
/// Approvals for a time, and decisions about several connections.
mod ends;
/// Both families, by real programs.
mod families;
/// Kills at any moment and at every sync, a full disk, races.
mod faults;
/// Segments in the name of others.
mod forged;
/// What the documents tell a reader to type.
mod guide;
/// The limitations that private endpoints began with, kept and lifted.
mod limitations;
/// Limits and drains, changed while it runs.
mod limits;
/// How much the API answers beside traffic.
mod load;
/// A log that nobody reads, and panics.
mod logging;
/// Private names for PostgreSQL, glibc and musl.
mod names;
/// Namespaces that are deleted and made anew.
mod namespaces;
/// NAT addresses that somebody has already.
mod neighbours;
/// States that earlier releases wrote.
mod old_states;
/// A program that is told of new requests.
mod on_request;
/// Both sides in the daemon's own namespace.
mod one_namespace;
/// What does not fit one tenant's way.
mod path_mtu;
/// Every property of the file, flipped under traffic.
mod properties;
/// What passes in a second.
mod rates;
/// The command line from afar.
mod remote;
/// Reject and approve while packets flow.
mod revocation;
/// The unmodified SDK of Azure, and a fuzzer.
mod sdk;
/// Secrets of bodies.
mod secrets;
/// What survives restarts, reloads and damage.
mod state;
/// The unmodified storage client, Azurite behind the endpoint.
mod storage;
/// Overlapping and peered networks, on-premises, several endpoints and addresses.
mod topologies;
/// A provider and a consumer, each with a document and a token of its own.
mod two_halves;
/// From a server's peer to the client behind it.
mod who;
