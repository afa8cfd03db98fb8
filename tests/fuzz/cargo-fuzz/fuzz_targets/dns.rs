//! See `tests/fuzz/names.rs`.
#![no_main]
#![allow(dead_code, reason = "what inputs reached is for the test that replays them")]

#[path = "../../names.rs"]
mod names;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    names::dns(data);
});
