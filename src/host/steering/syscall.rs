//! `bpf(2)` without a library: create a map, change it, load a program, attach it to a TUN.

#![allow(unsafe_code, reason = "bpf(2) and the TUN ioctl have no safe wrapper; each call says why it is sound")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::assembler::Instruction;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROGRAM_LOAD: libc::c_int = 5;
#[cfg(test)]
const PROGRAM_TEST_RUN: libc::c_int = 10;

const MAP_TYPE_HASH: u32 = 1;
/// Entries take memory when they are added, not when the map is made.
const MAP_NO_PREALLOCATION: u32 = 1;
const PROGRAM_TYPE_SOCKET_FILTER: u32 = 1;

/// First fields of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// Fields of `union bpf_attr` for the commands on map elements.
#[repr(C)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// First fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
}

/// First fields of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[cfg(test)]
#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// A hash map from an address to nothing in particular: being in it is the information.
pub(super) fn create_map(entries: u32) -> io::Result<OwnedFd> {
    let mut attribute = MapCreate {
        map_type: MAP_TYPE_HASH,
        key_size: 16,
        value_size: 4,
        max_entries: entries,
        map_flags: MAP_NO_PREALLOCATION,
    };
    Ok(descriptor(bpf(MAP_CREATE, &mut attribute)?))
}

/// An address as the program reads it: four words in host order, the most significant first; IPv4 in its mapped form.
pub(super) type Key = [u32; 4];

/// Adds `key`.
pub(super) fn put(map: BorrowedFd<'_>, key: Key) -> io::Result<()> {
    let value = 1_u32;
    let mut attribute = element(map, &key)?;
    attribute.value = std::ptr::from_ref(&value) as u64;
    bpf(MAP_UPDATE, &mut attribute).map(drop)
}

/// Removes `key`.
pub(super) fn remove(map: BorrowedFd<'_>, key: Key) -> io::Result<()> {
    let mut attribute = element(map, &key)?;
    bpf(MAP_DELETE, &mut attribute).map(drop)
}

/// Hands a program to the verifier.
pub(super) fn load_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attribute = ProgramLoad {
        program_type: PROGRAM_TYPE_SOCKET_FILTER,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
    };
    Ok(descriptor(bpf(PROGRAM_LOAD, &mut attribute)?))
}

/// Attaches a program to the device that `queue` belongs to; the device keeps it alive.
pub(super) fn attach_to_tun(queue: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let program: libc::c_int = program.as_raw_fd();
    // SAFETY: both descriptors are open; the kernel reads one int from the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETSTEERINGEBPF, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs a program once on an Ethernet frame; the program sees it from the IP header on.
#[cfg(test)]
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    let mut attribute = TestRun {
        program: number(program)?,
        result: 0,
        size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    bpf(PROGRAM_TEST_RUN, &mut attribute)?;
    Ok(attribute.result)
}

/// Names `key`; what a command does not use has to stay zero.
fn element(map: BorrowedFd<'_>, key: &Key) -> io::Result<MapElement> {
    Ok(MapElement { map: number(map)?, padding: 0, key: std::ptr::from_ref(key) as u64, value: 0, flags: 0 })
}

fn number(descriptor: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(descriptor.as_raw_fd()).map_err(io::Error::other)
}

fn descriptor(raw: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// One call. `attribute` is one of the structures above: the leading part of `union bpf_attr` that
/// the command reads; the kernel takes the rest as zero.
fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_int> {
    let size = mem::size_of::<T>();
    // SAFETY: the pointer is valid for `size` bytes; pointers inside it refer to objects that the
    // callers above keep alive, with the lengths they state.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}
