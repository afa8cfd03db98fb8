//! What `PRIVLINK_TESTS` asks for: words with commas between them. `tests/README.md` says what each costs and needs.

use std::io::Write as _;
use std::sync::Once;

/// Tests that need namespaces, a TUN device and the programs that `scripts/test.sh` installs.
const NETNS: &str = "netns";

/// Every round of the long loops.
const FULL: &str = "full";

/// The opposite of [`NETNS`], which scripts take for granted.
const NO_NETNS: &str = "no-netns";

/// Whether the variable has `word`. A word that nobody knows fails, so that a slip of the pen leaves nothing out.
fn has(word: &str) -> bool {
    let wish = std::env::var("PRIVLINK_TESTS").unwrap_or_default();
    let words: Vec<&str> = wish.split(',').filter(|word| !word.is_empty()).collect();
    let unknown = words.iter().find(|word| ![NETNS, NO_NETNS, FULL].contains(word));
    assert!(unknown.is_none(), "PRIVLINK_TESTS={wish}: {unknown:?} is none of {NETNS}, {NO_NETNS}, {FULL}");
    words.contains(&word)
}

/// Whether tests that need namespaces run. If not, that is said once, past what a test's output is kept in.
pub(crate) fn netns() -> bool {
    static SAID: Once = Once::new();
    let wanted = has(NETNS) && !has(NO_NETNS);
    if !wanted {
        SAID.call_once(|| {
            let _ = writeln!(std::io::stderr(), "tests in namespaces are left out: PRIVLINK_TESTS={NETNS} runs them");
        });
    }
    wanted
}

/// Whether long loops run whole; else a part of them, the same each time.
pub(crate) fn full() -> bool {
    has(FULL)
}
