//! Golden files: what every border of the product answers, recorded. Each `.txt` file below this folder is a list of
//! sections, headed by a request or a command line, with the answer below it; `world.toml` and `setup.txt` say what
//! the answers are about. The product is served in this process and asked over its socket, as any user.
//!
//! A difference fails. If it is meant: `PRIVLINK_BLESS=1 cargo test --test golden` writes the answers anew, and the
//! diff of the files says what users will see. A section is added by writing its heading into a file, and blessing.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

/// Whether everything is recorded that there is.
mod coverage;
/// Two texts, and where they differ.
mod difference;
/// JSON for people, in the order in which it came.
mod json;
/// The product, served.
mod lab;
/// What differs between two runs, under names that do not.
mod stable;
/// Packets and sessions.
mod traffic;
/// Sections and files.
mod transcript;

/// What all tests share.
#[path = "../support/mod.rs"]
mod support;

/// A test for each file.
macro_rules! recorded {
    ($($test:ident $file:literal)+) => {
        /// Every file, as it is called below this folder.
        const FILES: &[&str] = &[$($file),+];

        $(
            #[test]
            fn $test() {
                transcript::hold($file);
            }
        )+
    };
}

recorded! {
    setup "setup.txt"
    metrics "metrics.txt"
    openapi "openapi.txt"
    schema "schema.txt"
    arm_refused "arm/refused.txt"
    arm_groups "arm/groups.txt"
    arm_groups_changed "arm/groups-changed.txt"
    arm_networks "arm/networks.txt"
    arm_networks_changed "arm/networks-changed.txt"
    arm_services "arm/services.txt"
    arm_services_changed "arm/services-changed.txt"
    arm_endpoints "arm/endpoints.txt"
    arm_endpoints_changed "arm/endpoints-changed.txt"
    arm_zones "arm/zones.txt"
    arm_zones_changed "arm/zones-changed.txt"
    arm_typed "arm/typed.txt"
    arm_typed_changed "arm/typed-changed.txt"
    v1_server "v1/server.txt"
    v1_objects "v1/objects.txt"
    v1_networks "v1/networks.txt"
    v1_names "v1/names.txt"
    v1_access "v1/access.txt"
    v1_explain "v1/explain.txt"
    v1_changes "v1/changes.txt"
    cli_objects "cli/objects.txt"
    cli_daemon "cli/daemon.txt"
    cli_names "cli/names.txt"
    cli_explain "cli/explain.txt"
    cli_access "cli/access.txt"
    cli_changes "cli/changes.txt"
    cli_errors "cli/errors.txt"
    cli_refused "cli/refused.txt"
}
