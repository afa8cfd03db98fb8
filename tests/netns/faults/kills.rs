use std::time::Duration;

use super::ledger::{Ledger, lab};
use super::{attach, strace_is_there};
use crate::lab::{Daemon, FILE, isolated};
use crate::support::wanted::full;

/// Connections that change alone; the pair comes on top.
const SINGLES: usize = 6;

/// A disk that takes its time for each page of the log: most kills come while the daemon waits for it, and an
/// acknowledgement that does not wait gets out.
fn slow_disk() -> Vec<String> {
    const LOG: &str = "/run/privlink/state/state.db-wal";
    let line = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", LOG, "-e", "inject=pwrite64:delay_enter=2000"];
    line.map(str::to_owned).into()
}

#[test]
fn packets_agree_with_what_was_acknowledged_before_a_kill() {
    isolated("faults::kills::packets_agree_with_what_was_acknowledged_before_a_kill", || {
        let rounds = if full() { 200 } else { 20 };
        let mut random = fastrand::Rng::with_seed(0x0dd_b411);
        strace_is_there();
        lab();
        let (mut ledger, file) = Ledger::new(SINGLES);
        let mut daemon = Daemon::start(&file);
        ledger.check("before the first");
        let mut kills = 0;
        // On a busy machine few changes come between two kills: it goes on until there are enough of them.
        let few = |ledger: &Ledger| ledger.changes() <= 5 * rounds || ledger.cut.iter().sum::<usize>() <= rounds;
        for round in 0..10 * rounds {
            if round >= rounds && !few(&ledger) {
                break;
            }
            kills += 1;
            let moment = Duration::from_micros(random.u64(0..200_000));
            let mut authors = random.fork();
            let slow = (round % 2 == 1).then(|| attach(&slow_disk(), &daemon));
            std::thread::scope(|scope| {
                scope.spawn(|| ledger.work(&mut authors));
                std::thread::sleep(moment);
                daemon.kill();
            });
            if let Some(mut tracer) = slow {
                tracer.wait().expect("ended");
            }
            if round % 4 == 3 {
                let young = Daemon::launch(&[env!("CARGO_BIN_EXE_privlink"), "run", "-c", FILE]);
                std::thread::sleep(Duration::from_micros(random.u64(0..300_000)));
                young.kill();
            }
            daemon = Daemon::again(&[]);
            ledger.check(&format!("round {round}"));
        }
        let (changes, [made, lost]) = (ledger.changes(), ledger.cut);
        println!("{kills} kills, {changes} changes; of those cut off, {made} were made and {lost} were not");
        assert!(!few(&ledger), "{changes} changes, {made} and {lost} of them cut off");
    });
}
