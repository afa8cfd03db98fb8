//! See `tests/fuzz/harness.rs`.
#![no_main]
#![allow(dead_code, reason = "each target needs a part of the harness")]

#[path = "../../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    harness::icmp(data);
});
