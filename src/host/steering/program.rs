//! The steering program: computes, inside the kernel, exactly the functions of
//! `crate::snapshot::steering`, so that a packet reaches the queue of the worker that owns its
//! session. IPv6 packets go to queue 0 and are handed over from there.
//!
//! A TUN hands the program the packet from its IP header on, and takes the result modulo its queues
//! (kernel `tun_ebpf_select_queue`). A packet too short for a load ends it with 0.

use crate::snapshot::steering::{FIRST_NAT_PORT, MIX, NAT_PORTS};

use super::assembler::Condition::{AtLeast, Equal, NotEqual};
use super::assembler::Operation::{Add, And, Div, Move, Mul, Or, ShiftLeft, ShiftRight, Sub, Xor};
use super::assembler::Register::{R0, R1, R2, R6, R7, R8, R9, R10};
use super::assembler::Width::{Byte, Half, Word};
use super::assembler::{Assembler, Instruction, Label, Register};

/// `bpf_map_lookup_elem`.
const MAP_LOOKUP: i32 = 1;

/// More fragments, or an offset: the packet is a fragment (RFC 791 §3.1).
const FRAGMENT: i32 = 0x3FFF;

/// Length of the ICMP header before the packet it quotes (RFC 792).
const QUOTE: i32 = 8;

const ICMP: i32 = 1;
const TCP: i32 = 6;
const UDP: i32 = 17;

/// Places on the stack: key of the map, the port (or echo identifier) a NAT address is asked for,
/// protocol of a quoted packet.
const KEY: i16 = -4;
const NAT_PORT: i16 = -8;
const QUOTED_PROTOCOL: i16 = -12;

/// Where the parts of the program meet.
struct Places {
    /// R9 holds source port and destination port.
    ports: Label,
    /// R0 holds an echo identifier.
    identifier: Label,
    /// The message has neither.
    portless: Label,
}

/// Assembles the program for `workers` queues; `nat_map` is the descriptor of the map of NAT addresses.
///
/// R6 packet, R7 source, R8 destination, R9 offset of the transport header, then the ports.
pub(super) fn assemble(workers: u16, nat_map: i32) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let [elsewhere, fragment, icmp] = std::array::from_fn(|_| code.label());
    let places = Places { ports: code.label(), identifier: code.label(), portless: code.label() };

    load_header(&mut code, elsewhere, fragment);
    load_ports(&mut code, icmp, &places);
    code.place(icmp);
    load_icmp(&mut code, &places);
    choose_side(&mut code, &places, workers, nat_map);

    code.place(fragment);
    choose_by_fragment(&mut code, workers);

    code.place(elsewhere);
    code.constant(Move, R0, 0);
    code.exit();
    code.finish()
}

fn load_header(code: &mut Assembler, elsewhere: Label, fragment: Label) {
    code.copy64(R6, R1);
    code.load(Byte, 0);
    code.register(Move, R9, R0);
    code.constant(ShiftRight, R0, 4);
    code.jump_if(NotEqual, R0, 4, elsewhere);
    code.constant(And, R9, 0x0F);
    code.constant(ShiftLeft, R9, 2);
    code.load(Word, 12);
    code.register(Move, R7, R0);
    code.load(Word, 16);
    code.register(Move, R8, R0);
    code.load(Half, 6);
    code.constant(And, R0, FRAGMENT);
    code.jump_if(NotEqual, R0, 0, fragment);
}

fn load_ports(code: &mut Assembler, icmp: Label, places: &Places) {
    let with_ports = code.label();
    code.load(Byte, 9);
    code.jump_if(Equal, R0, ICMP, icmp);
    code.jump_if(Equal, R0, TCP, with_ports);
    code.jump_if(Equal, R0, UDP, with_ports);
    code.jump(places.portless);
    code.place(with_ports);
    code.load_at(Word, R9, 0);
    code.register(Move, R9, R0);
    code.jump(places.ports);
}

fn load_icmp(code: &mut Assembler, places: &Places) {
    const ERRORS: [i32; 5] = [3, 4, 5, 11, 12];
    const ECHO: [i32; 2] = [0, 8];
    let [echo, error] = std::array::from_fn(|_| code.label());
    code.load_at(Byte, R9, 0);
    for kind in ERRORS {
        code.jump_if(Equal, R0, kind, error);
    }
    for kind in ECHO {
        code.jump_if(Equal, R0, kind, echo);
    }
    code.jump(places.portless);
    code.place(error);
    load_quoted(code, echo, places);
    code.place(echo);
    code.load_at(Half, R9, 4);
    code.jump(places.identifier);
}

/// The quoted packet went the other way. R7, R8 and R9 become the tuple that packets of its session
/// carry in the direction of the error: the quoted one with its ends exchanged.
fn load_quoted(code: &mut Assembler, echo: Label, places: &Places) {
    let with_ports = code.label();
    code.constant(Add, R9, QUOTE);
    code.load_at(Word, R9, 16);
    code.register(Move, R7, R0);
    code.load_at(Word, R9, 12);
    code.register(Move, R8, R0);
    code.load_at(Byte, R9, 9);
    code.store(R10, QUOTED_PROTOCOL, R0);
    code.load_at(Byte, R9, 0);
    code.constant(And, R0, 0x0F);
    code.constant(ShiftLeft, R0, 2);
    code.register(Add, R9, R0);
    code.fetch(R0, R10, QUOTED_PROTOCOL);
    code.jump_if(Equal, R0, ICMP, echo);
    code.jump_if(Equal, R0, TCP, with_ports);
    code.jump_if(Equal, R0, UDP, with_ports);
    code.jump(places.portless);
    code.place(with_ports);
    code.load_at(Word, R9, 0);
    code.register(Move, R9, R0);
    code.constant(ShiftLeft, R9, 16);
    code.constant(ShiftRight, R0, 16);
    code.register(Or, R9, R0);
    code.jump(places.ports);
}

/// Destination is a NAT address: by the range of the port there. Otherwise: by the tuple.
fn choose_side(code: &mut Assembler, places: &Places, workers: u16, nat_map: i32) {
    let [tuple_known, nat_side] = std::array::from_fn(|_| code.label());

    code.place(places.identifier);
    code.store(R10, NAT_PORT, R0);
    code.constant(ShiftLeft, R0, 16);
    code.register(Move, R9, R0);
    code.jump(tuple_known);

    code.place(places.portless);
    code.constant(Move, R9, 0);
    code.place(places.ports);
    code.register(Move, R0, R9);
    code.constant(And, R0, 0xFFFF);
    code.store(R10, NAT_PORT, R0);

    code.place(tuple_known);
    code.store(R10, KEY, R8);
    code.copy64(R2, R10);
    code.constant64(Add, R2, i32::from(KEY));
    code.map(R1, nat_map);
    code.call(MAP_LOOKUP);
    code.jump_if(NotEqual, R0, 0, nat_side);
    choose_by_tuple(code, workers);
    code.place(nat_side);
    choose_by_nat_port(code, workers);
}

/// [`crate::snapshot::steering::consumer_queue`].
fn choose_by_tuple(code: &mut Assembler, workers: u16) {
    mix_addresses(code);
    code.register(Add, R7, R9);
    scale(code, workers);
}

/// [`crate::snapshot::steering::nat_queue`].
fn choose_by_nat_port(code: &mut Assembler, workers: u16) {
    let in_range = code.label();
    let first = i32::from(FIRST_NAT_PORT);
    code.fetch(R0, R10, NAT_PORT);
    code.jump_if(AtLeast, R0, first, in_range);
    code.constant(Move, R0, first);
    code.place(in_range);
    code.constant(Sub, R0, first);
    code.constant(Mul, R0, i32::from(workers));
    code.constant(Div, R0, NAT_PORTS.cast_signed());
    code.exit();
}

/// [`crate::snapshot::steering::fragment_queue`].
fn choose_by_fragment(code: &mut Assembler, workers: u16) {
    mix_addresses(code);
    code.load(Half, 4);
    code.register(Add, R7, R0);
    code.load(Byte, 9);
    code.constant(ShiftLeft, R0, 24);
    code.register(Add, R7, R0);
    scale(code, workers);
}

/// R7 = `mix(mix(source) + destination)`.
fn mix_addresses(code: &mut Assembler) {
    mix(code, R7);
    code.register(Add, R7, R8);
    mix(code, R7);
}

fn mix(code: &mut Assembler, value: Register) {
    code.constant(Mul, value, MIX.cast_signed());
    code.register(Move, R0, value);
    code.constant(ShiftRight, R0, 15);
    code.register(Xor, value, R0);
}

/// Multiply-shift of the hash in R7 onto the queues; ends the program.
fn scale(code: &mut Assembler, workers: u16) {
    mix(code, R7);
    code.register(Move, R0, R7);
    code.constant64(Mul, R0, i32::from(workers));
    code.constant64(ShiftRight, R0, 32);
    code.exit();
}
