//! Clients, servers and captures: real kernel sockets in the namespaces of the lab.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};

use super::namespaces::inside;
use super::waiting::{WAIT_TIMEOUT, now};

/// Longest wait for an answer that comes: on a busy machine some of what is sent is lost, and sent again.
pub(crate) const ANSWER: Duration = WAIT_TIMEOUT;

/// Longest wait for one that does not come: shorter than the kernel's first SYN retransmission, so that one
/// attempt is one packet.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);

/// After which a datagram or an echo request that nobody has answered is sent again.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("address:port")
}

/// A program that does not outlive the test.
pub(crate) struct Program(pub(crate) Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// TCP and UDP on `at`: says `name` first, then echoes. Lives as long as the process.
pub(crate) fn serve(namespace: &str, at: &str, name: &'static str) {
    let at = address(at);
    let (listener, socket) =
        inside(namespace, || (TcpListener::bind(at).expect("bound"), UdpSocket::bind(at).expect("bound")));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream, name));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let answer = [name.as_bytes(), b":", &buffer[..length]].concat();
            // A peer that is gone needs no answer.
            let _ = socket.send_to(&answer, peer);
        }
    });
}

fn echo(mut stream: TcpStream, name: &str) {
    let mut buffer = vec![0; 65_536];
    let mut more = stream.write_all(format!("{name}\n").as_bytes()).is_ok();
    while more {
        more = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(length) => stream.write_all(&buffer[..length]).is_ok(),
        };
    }
}

/// A listener whose accepted connections the test holds.
pub(crate) fn listen(namespace: &str, at: &str, backlog: i32) -> TcpListener {
    inside(namespace, || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("reuse");
        rustix::net::bind(&socket, &address(at)).expect("bound");
        rustix::net::listen(&socket, backlog).expect("listening");
        TcpListener::from(socket)
    })
}

/// A connection from an address and port of the caller's choice (port 0: any).
pub(crate) fn connect(namespace: &str, from: &str, to: &str) -> Result<TcpStream, ErrorKind> {
    connect_within(namespace, from, to, ANSWER)
}

/// [`connect`] where nobody may answer: one attempt, which is one packet.
pub(crate) fn connect_once(namespace: &str, from: &str, to: &str) -> Result<TcpStream, ErrorKind> {
    connect_within(namespace, from, to, CONNECT_TIMEOUT)
}

/// [`connect`], with a choice of patience.
pub(crate) fn connect_within(namespace: &str, from: &str, to: &str, limit: Duration) -> Result<TcpStream, ErrorKind> {
    let attempt = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        rustix::net::bind(&socket, &address(from))?;
        rustix::net::connect(&socket, &address(to))?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(ANSWER))?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))?;
        Ok(TcpStream::from(socket))
    };
    inside(namespace, attempt).map_err(|error: Errno| match error {
        Errno::INPROGRESS | Errno::AGAIN => ErrorKind::TimedOut,
        other => other.kind(),
    })
}

/// The name that the service behind `to` says, and that it echoes.
pub(crate) fn tcp(namespace: &str, from: &str, to: &str) -> Result<String, ErrorKind> {
    greeted_and_closed(connect(namespace, from, to)?)
}

/// [`tcp`] where nobody may answer: one attempt, which is one packet.
pub(crate) fn tcp_once(namespace: &str, from: &str, to: &str) -> Result<String, ErrorKind> {
    greeted_and_closed(connect_once(namespace, from, to)?)
}

/// [`greeted`], after which both ends have closed: nobody says good-bye to the next daemon.
fn greeted_and_closed(mut stream: TcpStream) -> Result<String, ErrorKind> {
    let name = greeted(&mut stream).map_err(|error| error.kind())?;
    // A service may reset it instead: that is an end, too.
    let _ = stream.shutdown(Shutdown::Write).and_then(|()| stream.read_to_end(&mut Vec::new()));
    Ok(name)
}

/// Reads the greeting and has one message echoed.
pub(crate) fn greeted(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut name = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        name.push(byte[0]);
    }
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    Ok(String::from_utf8(name).expect("a name"))
}

/// The name of the service that answers a datagram.
pub(crate) fn udp(namespace: &str, from: &str, to: &str) -> Result<String, ErrorKind> {
    udp_of(namespace, from, to, 5)
}

/// [`udp`] where nobody may answer: one datagram.
pub(crate) fn udp_once(namespace: &str, from: &str, to: &str) -> Result<String, ErrorKind> {
    udp_of_once(namespace, from, to, 5)
}

/// [`udp`] with a payload of `size` bytes.
pub(crate) fn udp_of(namespace: &str, from: &str, to: &str, size: usize) -> Result<String, ErrorKind> {
    ask(namespace, (from, to), size, (ANSWER, AGAIN))
}

/// [`udp_once`] with a payload of `size` bytes.
pub(crate) fn udp_of_once(namespace: &str, from: &str, to: &str, size: usize) -> Result<String, ErrorKind> {
    ask(namespace, (from, to), size, (CONNECT_TIMEOUT, CONNECT_TIMEOUT))
}

/// Sends a datagram, again each time that it was not answered `within`, until the answer comes or `limit` is over.
fn ask(
    namespace: &str,
    (from, to): (&str, &str),
    size: usize,
    (limit, within): (Duration, Duration),
) -> Result<String, ErrorKind> {
    let sent = "x".repeat(size);
    let socket = inside(namespace, || UdpSocket::bind(address(from))).expect("bound");
    socket.set_read_timeout(Some(within)).expect("set");
    inside(namespace, || socket.connect(address(to))).map_err(|error| error.kind())?;
    let began = now();
    let mut buffer = [0; 2048];
    loop {
        match socket.send(sent.as_bytes()).and_then(|_| socket.recv(&mut buffer)) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let (name, payload) = text.split_once(':').expect("name:payload");
                assert_eq!(payload, sent);
                return Ok(name.to_owned());
            }
            // A socket with a timeout says "would block" when it is over.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if began.elapsed() >= limit {
                    return Err(ErrorKind::TimedOut);
                }
            }
            Err(error) => return Err(error.kind()),
        }
    }
}

/// A raw socket for one protocol; it hears what the kernel delivers, with the IPv4 header.
pub(crate) fn raw(namespace: &str, protocol: Protocol) -> OwnedFd {
    inside(namespace, || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).expect("raw socket");
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER)).expect("set");
        socket
    })
}

/// Sends whole IPv4 packets as they are, from any source.
pub(crate) fn inject(socket: &OwnedFd, packet: &[u8]) -> Result<(), Errno> {
    let to = SocketAddrV4::new(Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]), 0);
    rustix::net::sendto(socket, packet, SendFlags::empty(), &to).map(drop)
}

/// Whether an echo request from `from` to `to` is answered.
pub(crate) fn ping(namespace: &str, from: &str, to: &str) -> bool {
    const IDENTIFIER: u16 = 0x5143;
    let hears = raw(namespace, rustix::net::ipproto::ICMP);
    sockopt::set_socket_timeout(&hears, Timeout::Recv, Some(AGAIN)).expect("set");
    let sends = raw(namespace, rustix::net::ipproto::RAW);
    let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().expect("address"), to.parse().expect("address"));
    let ask = || inject(&sends, &super::packets::echo_request(from, to, IDENTIFIER, 64)).expect("sent");
    ask();
    let began = now();
    let mut buffer = [0; 2048];
    while began.elapsed() < ANSWER {
        let Ok((_, length)) = rustix::net::recv(&hears, &mut buffer, RecvFlags::empty()) else {
            ask();
            continue;
        };
        let packet = &buffer[..length];
        if packet.len() >= 28
            && packet[12..16] == to.octets()
            && packet[20] == 0
            && packet[24..26] == IDENTIFIER.to_be_bytes()
        {
            return true;
        }
    }
    false
}

/// IPv4 packets that arrive in a namespace from now on, on any interface.
pub(crate) struct Capture(OwnedFd);

impl Capture {
    pub(crate) fn start(namespace: &str) -> Self {
        let ipv4 = Protocol::from_raw(std::num::NonZeroU32::new(u32::from(0x0800_u16.to_be())).expect("not zero"));
        inside(namespace, || {
            let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::DGRAM, Some(ipv4)).expect("capture");
            sockopt::set_socket_recv_buffer_size_force(&socket, 256 << 20)
                .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, 256 << 20))
                .expect("a buffer");
            Self(socket)
        })
    }

    /// The first bytes of each packet so far.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = [0; 128];
        while let Ok((_, length)) = rustix::net::recv(&self.0, &mut buffer, RecvFlags::DONTWAIT) {
            packets.push(buffer[..length.min(buffer.len())].to_vec());
        }
        packets
    }

    /// Waits until nothing arrives any more, and forgets what did.
    pub(crate) fn quiet(&self) {
        loop {
            std::thread::sleep(Duration::from_millis(150));
            if self.packets().is_empty() {
                break;
            }
        }
    }

    /// Those of [`Self::packets`] whose source begins with `source` (such as 10.20.99) and that are no TCP reset.
    pub(crate) fn from(&self, source: [u8; 3]) -> Vec<Vec<u8>> {
        // Resets, and questions to an end of a connection: bare acknowledgements with a window of their own.
        let is_own = |packet: &[u8]| {
            packet[9] == 6
                && (packet[33] & 4 != 0 || packet.len() == 40 && packet[33] == 16 && packet[34..36] == [4, 0])
        };
        self.packets().into_iter().filter(|packet| packet[12..15] == source && !is_own(packet)).collect()
    }

    /// [`Self::from`] the NAT addresses of the lab: what privlink brought to the provider.
    pub(crate) fn forwarded(&self) -> Vec<Vec<u8>> {
        self.from([10, 20, 99])
    }
}

/// What a stream says that is reset: nothing is sent on it. Data that is on its way already is read first.
pub(crate) fn end_of(stream: &mut TcpStream) -> Result<(), ErrorKind> {
    stream.set_read_timeout(Some(ANSWER)).expect("set");
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => (),
            Err(error) => return Err(error.kind()),
        }
    }
}

/// Accepts in the background and passes the connections on.
pub(crate) fn accept_all(listener: TcpListener) -> Receiver<(TcpStream, SocketAddr)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok(accepted) = listener.accept() {
            if sender.send(accepted).is_err() {
                break;
            }
        }
    });
    receiver
}
