//! The log over real files, with a clock of its own: what is written is found, what is torn is never
//! misread, what is lost is counted, and the bounds hold.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::record::LENGTH;
use super::*;
use crate::dataplane::record::{Addresses, FlowEndReason, FlowRecord, Phase, SessionRecord, Tick};
use crate::snapshot::{AttachmentId, EndpointId, Protocol};

const HEADER: usize = 32;

/// A state directory and a clock that the test moves.
struct Lab {
    state: PathBuf,
    tick: Arc<AtomicU32>,
}

impl Lab {
    fn new(name: &str) -> Self {
        let state = std::env::temp_dir().join(format!("privlink-flow-log-{name}-{}", std::process::id()));
        // A run before may have left it behind.
        let _ = fs::remove_dir_all(&state);
        Self { state, tick: Arc::default() }
    }

    fn log(&self, limits: Limits, capacity: usize) -> FlowLog {
        let tick = Arc::clone(&self.tick);
        let clock = move || (tick.load(Ordering::Relaxed), wall(tick.load(Ordering::Relaxed)));
        FlowLog::new(&self.state, limits, vec![Arc::new(RecordRing::new(capacity))], Box::new(clock))
    }

    fn pass(&self, time: Duration) {
        self.tick.fetch_add(u32::try_from(time.as_millis() / 100).unwrap(), Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        wall(self.tick.load(Ordering::Relaxed))
    }

    /// Leaves the note of a session with NAT port `port` that was open for a minute.
    fn end(&self, log: &FlowLog, port: u16) {
        let now = self.tick.load(Ordering::Relaxed);
        log.rings[0].push(note(port, now));
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state.join(DIRECTORY)).expect("a directory");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    }

    fn bytes(&self) -> u64 {
        self.files().iter().map(|file| fs::metadata(file).expect("there").len()).sum()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// Noon of a day, and `tenths` of a second.
fn wall(tenths: u32) -> Timestamp {
    let noon: Timestamp = "2026-05-01T12:00:00Z".parse().expect("a time");
    noon + Duration::from_millis(u64::from(tenths) * 100)
}

fn note(port: u16, now: u32) -> SessionRecord {
    let address = |address: [u8; 4]| std::net::IpAddr::from(address).into();
    SessionRecord {
        flow: FlowRecord {
            addresses: Addresses {
                consumer: address([10, 1, 0, 5]),
                endpoint: address([10, 1, 9, 4]),
                nat: address([10, 20, 99, 4]),
                backend: address([10, 20, 0, 2]),
                consumer_port: 40_000,
                endpoint_port: 5432,
                nat_port: port,
                backend_port: 5432,
            },
            to_service: (3, 300),
            to_consumer: (4, 4_000),
            link: 7,
            protocol: Protocol::Tcp,
        },
        endpoint: EndpointId(1),
        opened: Tick(now.saturating_sub(600)),
        last: Tick(now),
        attachment: AttachmentId(0),
        phase: Phase::Closing,
        end: Some(FlowEndReason::Closed),
    }
}

fn sought(port: u16) -> Sought {
    Sought { nat: SocketAddr::from(([10, 20, 99, 4], port)), backend: None, at: None }
}

fn found(log: &FlowLog, port: u16) -> Found {
    log.find(&sought(port), 100).expect("readable")
}

fn count(log: &FlowLog, ports: std::ops::Range<u16>) -> usize {
    ports.map(|port| found(log, port).records.len()).sum()
}

#[test]
fn an_ended_session_is_found_with_all_that_was_known() {
    let lab = Lab::new("found");
    let log = lab.log(Limits::default(), 100);
    lab.pass(Duration::from_mins(10));
    lab.end(&log, 2_000);
    lab.end(&log, 2_001);
    lab.pass(Duration::from_secs(3));
    let record = found(&log, 2_000).records[0];
    let ended = wall(6_000);
    assert_eq!((record.ended, record.opened), (ended, ended - Duration::from_mins(1)), "not when it was written");
    assert_eq!((record.flow, record.reason), (note(2_000, 0).flow, FlowEndReason::Closed));
    assert!(found(&log, 2_002).records.is_empty());
    let elsewhere = SocketAddr::from(([10, 20, 0, 3], 5432));
    let narrowed = Sought { backend: Some(elsewhere), ..sought(2_000) };
    assert!(log.find(&narrowed, 100).expect("readable").records.is_empty());
    for (seconds, alive) in [(-62, false), (-60, true), (-1, true), (0, true), (2, false)] {
        let at = Some(ended + SignedDuration::from_secs(seconds));
        let then = log.find(&Sought { at, ..sought(2_000) }, 100).expect("readable");
        assert_eq!(then.records.len() == 1, alive, "{seconds} s from its end");
    }
    assert_eq!((log.records(), log.lost(), found(&log, 2_000).losses), (2, 0, Losses::default()));
}

#[test]
fn the_most_recent_ones_come_first_and_the_rest_is_counted() {
    let lab = Lab::new("recent");
    let log = lab.log(Limits::default(), 1_000);
    for _ in 0..150 {
        lab.pass(Duration::from_mins(1));
        lab.end(&log, 2_000);
    }
    let found = found(&log, 2_000);
    assert_eq!((found.records.len(), found.more), (100, 50));
    assert_eq!(found.records[0].ended, lab.now());
    assert!(found.records.is_sorted_by(|earlier, later| earlier.ended > later.ended));
}

#[test]
fn what_a_full_ring_loses_is_counted_exactly_and_dated() {
    let lab = Lab::new("full");
    let log = lab.log(Limits::default(), 16);
    log.drain();
    let before = lab.now();
    lab.pass(Duration::from_secs(5));
    for port in 0..40 {
        lab.end(&log, 2_000 + port);
    }
    let found = found(&log, 2_000);
    assert_eq!((log.records(), log.lost()), (16, 24));
    assert_eq!(found.losses, Losses { counted: 24, kills: 0, since: Some(before) });
    assert_eq!(count(&log, 2_000..2_040), 16);
    log.finish();
    drop(log);
    let log = lab.log(Limits::default(), 16);
    let again = log.find(&sought(2_000), 100).expect("readable");
    assert_eq!(again.losses.counted, 24, "a restart forgets no loss");
}

#[test]
fn a_kill_is_noted_by_the_next_start_and_a_stop_in_good_order_is_none() {
    let lab = Lab::new("kill");
    let log = lab.log(Limits::default(), 16);
    lab.end(&log, 2_000);
    log.drain();
    let last = lab.now();
    drop(log);
    lab.pass(Duration::from_mins(5));
    let log = lab.log(Limits::default(), 16);
    let after_kill = found(&log, 2_000);
    assert_eq!(after_kill.records.len(), 1);
    assert_eq!(after_kill.losses, Losses { counted: 0, kills: 1, since: Some(last) });
    log.finish();
    let log = lab.log(Limits::default(), 16);
    assert_eq!(found(&log, 2_000).losses.kills, 1, "no second one");
}

#[test]
fn a_torn_tail_is_cut_off_at_every_length_and_what_follows_is_whole() {
    let lab = Lab::new("torn");
    for torn in 0..=2 * LENGTH {
        let _ = fs::remove_dir_all(&lab.state);
        let log = lab.log(Limits::default(), 16);
        (0..4).for_each(|number| lab.end(&log, 2_000 + number));
        log.drain();
        drop(log);
        let [file] = &lab.files()[..] else { panic!("one segment") };
        let length = (HEADER + 4 * LENGTH - torn) as u64;
        fs::OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(length)).expect("torn");
        let log = lab.log(Limits::default(), 16);
        lab.end(&log, 3_000);
        let whole = 4 - torn.div_ceil(LENGTH);
        assert_eq!(count(&log, 2_000..2_004), whole, "{torn} bytes are missing");
        assert_eq!(found(&log, 3_000).records.len(), 1, "{torn} bytes are missing");
        assert_eq!(lab.files().len(), 1);
    }
}

#[test]
fn zeros_and_flipped_bits_are_never_taken_for_an_entry() {
    let lab = Lab::new("flipped");
    let log = lab.log(Limits::default(), 16);
    (0..3).for_each(|number| lab.end(&log, 2_000 + number));
    log.drain();
    let file = &lab.files()[0];
    let sound = fs::read(file).expect("a segment");
    for at in HEADER..HEADER + 3 * LENGTH {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(file, bytes).expect("written");
        let log = lab.log(Limits::default(), 16);
        assert_eq!(count(&log, 2_000..2_003), 2, "byte {at}: one is left out, the others are found");
    }
    let mut bytes = sound.clone();
    bytes.extend([0; 5 * LENGTH]);
    fs::write(file, bytes).expect("written");
    let log = lab.log(Limits::default(), 16);
    assert_eq!(count(&log, 2_000..2_003), 3);
    let kill = LENGTH as u64;
    assert_eq!(fs::metadata(file).expect("there").len(), sound.len() as u64 + kill, "the zeros are gone");
}

#[test]
fn the_oldest_segments_go_when_there_are_too_many_bytes() {
    let lab = Lab::new("bytes");
    let limits = Limits { max_bytes: 20_000, ..Limits::default() };
    let log = lab.log(limits, 1_000);
    for number in 0..1_000_u16 {
        lab.pass(Duration::from_secs(1));
        lab.end(&log, 2_000 + number);
        log.drain();
        assert!(lab.bytes() <= limits.max_bytes, "{} after {number}", lab.bytes());
    }
    let kept = count(&log, 2_000..3_000);
    assert!(lab.bytes() > limits.max_bytes * 3 / 4, "{} bytes are kept", lab.bytes());
    assert_eq!(count(&log, 3_000 - u16::try_from(kept).expect("few")..3_000), kept, "the newest are kept");
    log.finish();
    let log = lab.log(limits, 1_000);
    assert_eq!(count(&log, 2_000..3_000), kept, "a restart keeps them");
}

#[test]
fn segments_go_when_all_in_them_is_too_old() {
    let lab = Lab::new("age");
    let limits = Limits { retain: Duration::from_hours(16), ..Limits::default() };
    let log = lab.log(limits, 1_000);
    for number in 0..96 {
        lab.end(&log, 2_000 + number);
        log.drain();
        lab.pass(Duration::from_mins(30));
    }
    log.drain();
    // Every one of the last 16 hours, and at most one segment's time more.
    let kept = count(&log, 2_000..2_096);
    assert!((32..=38).contains(&kept), "{kept} of 48 hours are kept");
    assert_eq!(count(&log, 2_064..2_096), 32);
}

#[test]
fn when_the_directory_cannot_be_used_notes_wait_and_nothing_is_lost_before_the_ring_is_full() {
    let lab = Lab::new("refused");
    fs::create_dir_all(&lab.state).expect("made");
    // A file where the directory should be: refused to root as well.
    fs::write(lab.state.join(DIRECTORY), "in the way").expect("written");
    let log = lab.log(Limits::default(), 8);
    for port in 0..12 {
        lab.end(&log, 2_000 + port);
        log.drain();
    }
    assert_eq!((log.records(), log.lost()), (0, 4));
    assert!(log.find(&sought(2_000), 100).is_err(), "silence would look like an answer");
    fs::remove_file(lab.state.join(DIRECTORY)).expect("removed");
    assert_eq!(count(&log, 2_000..2_012), 8);
    assert_eq!((log.records(), found(&log, 2_000).losses.counted), (8, 4));
}

#[test]
fn a_refused_write_is_repeated_and_writes_nothing_twice() {
    let lab = Lab::new("retry");
    let log = lab.log(Limits::default(), 8);
    lab.end(&log, 2_000);
    log.drain();
    // What a write that failed half-way leaves behind, and an end that refuses every write.
    {
        let mut writer = log.writer();
        let segments = writer.segments.as_mut().expect("open");
        segments.refuse(&[7; 50]);
    }
    lab.end(&log, 2_001);
    log.drain();
    assert_eq!(log.records(), 1);
    assert!(found(&log, 2_001).behind, "the answer says that something is missing");
    log.writer().segments.as_mut().expect("open").accept();
    assert_eq!((count(&log, 2_000..2_002), log.records(), log.lost()), (2, 2, 0));
    assert_eq!(lab.bytes() as usize, HEADER + 2 * LENGTH);
}

#[test]
fn a_segment_of_another_version_is_neither_read_nor_touched() {
    let lab = Lab::new("version");
    let log = lab.log(Limits::default(), 8);
    lab.end(&log, 2_000);
    log.finish();
    let file = lab.files()[0].clone();
    let mut bytes = fs::read(&file).expect("a segment");
    bytes[8] = 2;
    fs::write(&file, &bytes).expect("written");
    let log = lab.log(Limits { max_bytes: 1_000, ..Limits::default() }, 8);
    lab.end(&log, 2_001);
    assert_eq!((count(&log, 2_000..2_001), count(&log, 2_001..2_002)), (0, 1));
    assert_eq!(fs::read(&file).expect("still there"), bytes);
    assert_eq!(fs::metadata(lab.state.join(DIRECTORY)).expect("there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn its_own_thread_writes_when_a_ring_is_half_full_and_at_the_end() {
    let lab = Lab::new("thread");
    let log = Arc::new(lab.log(Limits::default(), 64));
    let running = log.start().expect("a thread");
    (0..200).for_each(|port| {
        lab.end(&log, 2_000 + port);
        while log.rings[0].is_full() {
            std::thread::yield_now();
        }
    });
    drop(running);
    assert_eq!((log.records(), log.lost()), (200, 0));
    let again = lab.log(Limits::default(), 8);
    assert_eq!((count(&again, 2_000..2_200), found(&again, 2_000).losses.kills), (200, 0));
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn every_record_survives_its_bytes(
        numbers in any::<(u32, u16, u16, u64, u64, u32)>(), v6 in any::<[u8; 16]>(), v4 in any::<[u8; 4]>(), reason in 0_usize..6,
    ) {
        let (link, port, other, packets, bytes, tenths) = numbers;
        let ended = wall(0);
        let wide = std::net::IpAddr::from(v6).to_canonical().into();
        let addresses = Addresses {
            consumer: wide,
            endpoint: std::net::IpAddr::from(v4).into(),
            nat: std::net::IpAddr::from(v4).into(),
            backend: wide,
            consumer_port: port,
            endpoint_port: other,
            nat_port: port,
            backend_port: other,
        };
        let flow = FlowRecord {
            addresses,
            to_service: (packets, bytes),
            to_consumer: (bytes, packets),
            link,
            protocol: [Protocol::Icmp, Protocol::Tcp, Protocol::Udp][reason % 3],
        };
        let record = Record { flow, reason: FlowEndReason::ALL[reason], opened: before(ended, tenths), ended };
        prop_assert_eq!(Entry::decode(&Entry::Session(record).encode()), Some(Entry::Session(record)));
    }
}
