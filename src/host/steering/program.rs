//! The steering program: computes, inside the kernel, exactly the functions of
//! `crate::snapshot::steering`, so that a packet reaches the queue of the worker that owns its
//! session. What it cannot read, such as a long chain of IPv6 extension headers, goes to queue 0 and is handed
//! over from there.
//!
//! A TUN hands the program the packet from its IP header on, and takes the result modulo its queues
//! (kernel `tun_ebpf_select_queue`). A packet too short for a load ends it with 0.

use crate::snapshot::steering::{FIRST_NAT_PORT, NAT_PORTS, Secret};

use super::assembler::Condition::{AtLeast, Equal, NotEqual};
use super::assembler::Operation::{Add, And, Div, Move, Mul, Or, ShiftLeft, ShiftRight, Sub, Xor};
use super::assembler::Register::{R0, R1, R2, R6, R7, R8, R9, R10};
use super::assembler::Width::{Byte, Half, Word};
use super::assembler::{Assembler, Instruction, Label};

/// `bpf_map_lookup_elem`.
const MAP_LOOKUP: i32 = 1;

/// More fragments, or an offset: the packet is a fragment (RFC 791 §3.1).
const FRAGMENT: i32 = 0x3FFF;

/// Length of the ICMP header before the packet it quotes (RFC 792).
const QUOTE: i32 = 8;

const ICMP: i32 = 1;
const TCP: i32 = 6;
const UDP: i32 = 17;

const ICMPV6: i32 = 58;

/// Extension headers of IPv6 (RFC 8200 §4): hop-by-hop options, routing, destination options; and the fragment header.
const EXTENSIONS: [i32; 3] = [0, 43, 60];
const FRAGMENT_HEADER: i32 = 44;

/// Extension headers that the program walks.
const WALKED: usize = 4;

/// Offset or more-fragments flag of an IPv6 fragment header's third and fourth byte.
const PIECE: i32 = 0xFFF9;

/// Places on the stack: key of the map (an address of four words), the port (or echo identifier) a NAT address is
/// asked for, a protocol while its header is read.
const KEY: i16 = -16;
const NAT_PORT: i16 = -20;
const PROTOCOL: i16 = -24;

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
/// R6 packet, R7 the sum over what is hashed, R8 the NAT address asked for where it is IPv4, R9 offset of the transport
/// header, then the ports.
pub(super) fn assemble(workers: u16, nat_map: i32, secret: &Secret) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let [elsewhere, fragment, icmp, six] = std::array::from_fn(|_| code.label());
    let places = Places { ports: code.label(), identifier: code.label(), portless: code.label() };

    load_header(&mut code, secret, six, fragment);
    load_ports(&mut code, icmp, &places);
    code.place(icmp);
    load_icmp(&mut code, secret, &places);
    code.place(six);
    load_v6(&mut code, secret, &places, workers, elsewhere);
    choose_side(&mut code, secret, &places, workers, nat_map);

    code.place(fragment);
    choose_by_fragment(&mut code, secret, workers);

    code.place(elsewhere);
    code.constant(Move, R0, 0);
    code.exit();
    code.finish()
}

fn load_header(code: &mut Assembler, secret: &Secret, six: Label, fragment: Label) {
    code.copy64(R6, R1);
    code.load(Byte, 0);
    code.register(Move, R9, R0);
    code.constant(ShiftRight, R0, 4);
    code.jump_if(NotEqual, R0, 4, six);
    code.constant(And, R9, 0x0F);
    code.constant(ShiftLeft, R9, 2);
    code.wide(R7, secret.start_v4());
    code.load(Word, 12);
    absorb(code, secret, Secret::SOURCE + 3);
    code.load(Word, 16);
    code.register(Move, R8, R0);
    absorb(code, secret, Secret::DESTINATION + 3);
    store_v4_key(code);
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

fn load_icmp(code: &mut Assembler, secret: &Secret, places: &Places) {
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
    load_quoted(code, secret, echo, places);
    code.place(echo);
    code.load_at(Half, R9, 4);
    code.jump(places.identifier);
}

/// The quoted packet went the other way. R7, R8 and R9 become what packets of its session
/// have in the direction of the error: of the quoted one with its ends exchanged.
fn load_quoted(code: &mut Assembler, secret: &Secret, echo: Label, places: &Places) {
    let with_ports = code.label();
    code.constant(Add, R9, QUOTE);
    code.wide(R7, secret.start_v4());
    code.load_at(Word, R9, 16);
    absorb(code, secret, Secret::SOURCE + 3);
    code.load_at(Word, R9, 12);
    code.register(Move, R8, R0);
    absorb(code, secret, Secret::DESTINATION + 3);
    store_v4_key(code);
    code.load_at(Byte, R9, 9);
    code.store(R10, PROTOCOL, R0);
    code.load_at(Byte, R9, 0);
    code.constant(And, R0, 0x0F);
    code.constant(ShiftLeft, R0, 2);
    code.register(Add, R9, R0);
    code.fetch(R0, R10, PROTOCOL);
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

/// The key of the IPv4 address in R8: its mapped form.
fn store_v4_key(code: &mut Assembler) {
    code.constant(Move, R0, 0);
    code.store(R10, KEY, R0);
    code.store(R10, KEY + 4, R0);
    code.constant(Move, R0, 0xFFFF);
    code.store(R10, KEY + 8, R0);
    code.store(R10, KEY + 12, R8);
}

/// IPv6: extension headers walked, then as for IPv4.
fn load_v6(code: &mut Assembler, secret: &Secret, places: &Places, workers: u16, elsewhere: Label) {
    let [fragment, walked, icmp, echo, error, with_ports] = std::array::from_fn(|_| code.label());
    code.load(Byte, 0);
    code.constant(ShiftRight, R0, 4);
    code.jump_if(NotEqual, R0, 6, elsewhere);
    code.constant(Move, R9, 0);
    load_v6_addresses(code, secret, 8, 24);
    code.load(Byte, 6);
    code.constant(Move, R9, 40);
    for _ in 0..WALKED {
        walk(code, fragment, walked);
    }
    for header in [FRAGMENT_HEADER, EXTENSIONS[0], EXTENSIONS[1], EXTENSIONS[2]] {
        code.jump_if(Equal, R0, header, elsewhere);
    }
    code.place(walked);
    code.jump_if(Equal, R0, ICMPV6, icmp);
    code.jump_if(Equal, R0, TCP, with_ports);
    code.jump_if(Equal, R0, UDP, with_ports);
    code.jump(places.portless);
    code.place(with_ports);
    code.load_at(Word, R9, 0);
    code.register(Move, R9, R0);
    code.jump(places.ports);

    code.place(icmp);
    code.load_at(Byte, R9, 0);
    for kind in 1..=4 {
        code.jump_if(Equal, R0, kind, error);
    }
    for kind in [128, 129] {
        code.jump_if(Equal, R0, kind, echo);
    }
    code.jump(places.portless);
    code.place(error);
    load_v6_quoted(code, secret, echo, places, elsewhere);
    code.place(echo);
    code.load_at(Half, R9, 4);
    code.jump(places.identifier);

    code.place(fragment);
    code.load_at(Word, R9, 4);
    absorb(code, secret, Secret::TAIL);
    code.load_at(Byte, R9, 0);
    absorb(code, secret, Secret::PROTOCOL);
    choose(code, secret, workers);
}

/// One step along the extension headers: R0 is the next one's number, R9 where it stands.
fn walk(code: &mut Assembler, fragment: Label, walked: Label) {
    let [extension, next] = std::array::from_fn(|_| code.label());
    for header in EXTENSIONS {
        code.jump_if(Equal, R0, header, extension);
    }
    code.jump_if(NotEqual, R0, FRAGMENT_HEADER, walked);
    code.load_at(Half, R9, 2);
    code.constant(And, R0, PIECE);
    code.jump_if(NotEqual, R0, 0, fragment);
    code.load_at(Byte, R9, 0);
    code.constant(Add, R9, 8);
    code.jump(next);
    code.place(extension);
    code.load_at(Byte, R9, 0);
    code.store(R10, PROTOCOL, R0);
    code.load_at(Byte, R9, 1);
    code.constant(Add, R0, 1);
    code.constant(ShiftLeft, R0, 3);
    code.register(Add, R9, R0);
    code.fetch(R0, R10, PROTOCOL);
    code.place(next);
}

/// R7: the sum over source and destination of the header at R9; the destination becomes the map's key.
fn load_v6_addresses(code: &mut Assembler, secret: &Secret, source: i32, destination: i32) {
    code.wide(R7, secret.start);
    for (word, at) in (0..4_i16).zip(Secret::SOURCE..) {
        code.load_at(Word, R9, source + i32::from(word) * 4);
        absorb(code, secret, at);
    }
    for (word, at) in (0..4_i16).zip(Secret::DESTINATION..) {
        code.load_at(Word, R9, destination + i32::from(word) * 4);
        code.store(R10, KEY + word * 4, R0);
        absorb(code, secret, at);
    }
}

/// As [`load_quoted`]: the quoted packet's ends exchanged. Of extension headers it may have a fragment header.
fn load_v6_quoted(code: &mut Assembler, secret: &Secret, echo: Label, places: &Places, elsewhere: Label) {
    let [unfragmented, with_ports] = std::array::from_fn(|_| code.label());
    code.constant(Add, R9, QUOTE);
    load_v6_addresses(code, secret, 24, 8);
    code.load_at(Byte, R9, 6);
    code.constant(Add, R9, 40);
    code.jump_if(NotEqual, R0, FRAGMENT_HEADER, unfragmented);
    code.load_at(Byte, R9, 0);
    code.constant(Add, R9, 8);
    code.place(unfragmented);
    code.jump_if(Equal, R0, ICMPV6, echo);
    code.jump_if(Equal, R0, TCP, with_ports);
    code.jump_if(Equal, R0, UDP, with_ports);
    code.jump(elsewhere);
    code.place(with_ports);
    code.load_at(Word, R9, 0);
    code.register(Move, R9, R0);
    code.constant(ShiftLeft, R9, 16);
    code.constant(ShiftRight, R0, 16);
    code.register(Or, R9, R0);
    code.jump(places.ports);
}

/// Destination is a NAT address: by the range of the port there. Otherwise: by the tuple.
fn choose_side(code: &mut Assembler, secret: &Secret, places: &Places, workers: u16, nat_map: i32) {
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
    code.copy64(R2, R10);
    code.constant64(Add, R2, i32::from(KEY));
    code.map(R1, nat_map);
    code.call(MAP_LOOKUP);
    code.jump_if(NotEqual, R0, 0, nat_side);
    choose_by_tuple(code, secret, workers);
    code.place(nat_side);
    choose_by_nat_port(code, workers);
}

/// [`Secret::consumer_queue`].
fn choose_by_tuple(code: &mut Assembler, secret: &Secret, workers: u16) {
    code.register(Move, R0, R9);
    absorb(code, secret, Secret::TAIL);
    choose(code, secret, workers);
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

/// [`Secret::fragment_queue`].
fn choose_by_fragment(code: &mut Assembler, secret: &Secret, workers: u16) {
    code.load(Half, 4);
    absorb(code, secret, Secret::TAIL);
    code.load(Byte, 9);
    absorb(code, secret, Secret::PROTOCOL);
    choose(code, secret, workers);
}

/// R7 += R0 * the factor of this place. R0 holds a word, its upper half zero.
fn absorb(code: &mut Assembler, secret: &Secret, at: usize) {
    code.wide(R2, secret.factors[at]);
    code.register64(Mul, R0, R2);
    code.register64(Add, R7, R0);
}

/// The sum in R7, mixed, onto the queues; ends the program.
fn choose(code: &mut Assembler, secret: &Secret, workers: u16) {
    code.copy64(R0, R7);
    code.constant64(ShiftRight, R0, Secret::FOLD.cast_signed());
    code.register64(Xor, R0, R7);
    code.wide(R2, secret.mix);
    code.register64(Mul, R0, R2);
    code.constant64(ShiftRight, R0, 32);
    code.constant64(Mul, R0, i32::from(workers));
    code.constant64(ShiftRight, R0, 32);
    code.exit();
}
